/* A disk that fails on demand, for LD_PRELOAD.
 *
 * While the file named by FSYNC_SHIM_FAILS exists, fsync and fdatasync fail with EIO.
 * While the file named by PWRITE_SHIM_FAILS exists, pwrite through an O_DSYNC descriptor (the log, LMDB's meta page)
 * fails with EIO.
 * While the file named by STATVFS_SHIM_FULL exists, every file system has 1 MiB left.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

static int told_to_fail(const char *variable) {
  const char *path = getenv(variable);
  int saved = errno;
  int told = path != NULL && access(path, F_OK) == 0;
  errno = saved;
  return told;
}

int fsync(int fd) {
  if (told_to_fail("FSYNC_SHIM_FAILS")) {
    errno = EIO;
    return -1;
  }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
  if (told_to_fail("FSYNC_SHIM_FAILS")) {
    errno = EIO;
    return -1;
  }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

static int is_synced_write(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) != 0; }

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  if (is_synced_write(fd) && told_to_fail("PWRITE_SHIM_FAILS")) {
    errno = EIO;
    return -1;
  }
  return ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  if (is_synced_write(fd) && told_to_fail("PWRITE_SHIM_FAILS")) {
    errno = EIO;
    return -1;
  }
  return ((ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64"))(fd, bytes, count, offset);
}

int statvfs(const char *path, struct statvfs *found) {
  int result = ((int (*)(const char *, struct statvfs *))dlsym(RTLD_NEXT, "statvfs"))(path, found);
  if (result == 0 && told_to_fail("STATVFS_SHIM_FULL")) found->f_bavail = (1 << 20) / found->f_frsize;
  return result;
}

int statvfs64(const char *path, struct statvfs64 *found) {
  int result = ((int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64"))(path, found);
  if (result == 0 && told_to_fail("STATVFS_SHIM_FULL")) found->f_bavail = (1 << 20) / found->f_frsize;
  return result;
}
