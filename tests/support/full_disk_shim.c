/* A disk that is full on demand, for LD_PRELOAD.
 *
 * While the file named by FULL_SHIM_FROM exists and holds a number n, the n-th call since then that may need room, and
 * every later one, fails with ENOSPC: pwrite, pwritev, write and writev to a regular file, posix_fallocate, and
 * ftruncate to a greater length. The first of them is noted in the file named by FULL_SHIM_MET: call, path, and whether
 * each write through that descriptor syncs. If FULL_SHIM_UNDER is set, only calls on files whose path contains that text
 * are counted: once one of them has found the disk full, it is full for all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long calls;
static int is_full;

static long full_from(void) {
  const char *path = getenv("FULL_SHIM_FROM");
  char digits[24] = {0};
  int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  long size = syscall(SYS_read, fd, digits, sizeof digits - 1);
  syscall(SYS_close, fd);
  return size > 0 ? atol(digits) : 0;
}

static void path_of(int fd, char *file, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, file, size - 1);
  file[length < 0 ? 0 : length] = 0;
}

static int counts(int fd) {
  const char *under = getenv("FULL_SHIM_UNDER");
  char file[1024];
  if (under == NULL) return 1;
  path_of(fd, file, sizeof file);
  return strstr(file, under) != NULL;
}

static void note(const char *call, int fd) {
  const char *path = getenv("FULL_SHIM_MET");
  char file[1024], line[1200];
  int out = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (out < 0) return;
  path_of(fd, file, sizeof file);
  int size = snprintf(line, sizeof line, "%s %s %s\n", call, file, fcntl(fd, F_GETFL) & O_DSYNC ? "synced" : "plain");
  syscall(SYS_write, out, line, (size_t)size);
  syscall(SYS_close, out);
}

static int no_room(const char *call, int fd) {
  struct stat status;
  int saved = errno, refuses = 0;
  long from = full_from();
  if (from <= 0) {
    calls = is_full = 0;
  } else if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    if (!is_full && counts(fd) && ++calls >= from) {
      note(call, fd);
      is_full = 1;
    }
    refuses = is_full;
  }
  errno = refuses ? ENOSPC : saved;
  return refuses;
}

#define NEXT(name) dlsym(RTLD_NEXT, #name)

#define WRITES_AT(name, offset)                                                                    \
  ssize_t name(int fd, const void *bytes, size_t count, offset at) {                               \
    if (no_room("pwrite", fd)) return -1;                                                          \
    return ((ssize_t(*)(int, const void *, size_t, offset))NEXT(name))(fd, bytes, count, at);      \
  }
#define WRITES_PARTS_AT(name, offset)                                                              \
  ssize_t name(int fd, const struct iovec *parts, int count, offset at) {                          \
    if (no_room("pwritev", fd)) return -1;                                                         \
    return ((ssize_t(*)(int, const struct iovec *, int, offset))NEXT(name))(fd, parts, count, at); \
  }
#define RESERVES(name, offset)                                                                     \
  int name(int fd, offset at, offset length) {                                                     \
    if (no_room("posix_fallocate", fd)) return ENOSPC;                                             \
    return ((int (*)(int, offset, offset))NEXT(name))(fd, at, length);                             \
  }
#define LENGTHENS(name, offset)                                                                    \
  int name(int fd, offset length) {                                                                \
    struct stat status;                                                                            \
    if (fstat(fd, &status) == 0 && length > status.st_size && no_room("ftruncate", fd)) return -1; \
    return ((int (*)(int, offset))NEXT(name))(fd, length);                                         \
  }

WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)
WRITES_PARTS_AT(pwritev, off_t)
WRITES_PARTS_AT(pwritev64, off64_t)
RESERVES(posix_fallocate, off_t)
RESERVES(posix_fallocate64, off64_t)
LENGTHENS(ftruncate, off_t)
LENGTHENS(ftruncate64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
  if (no_room("write", fd)) return -1;
  return ((ssize_t(*)(int, const void *, size_t))NEXT(write))(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (no_room("writev", fd)) return -1;
  return ((ssize_t(*)(int, const struct iovec *, int))NEXT(writev))(fd, parts, count);
}
