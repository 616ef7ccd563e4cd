/* A calendar that is wrong by CALENDAR_SHIM_S seconds, for LD_PRELOAD. Clocks that count seconds are as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(clock, now);
  const char *shift = getenv("CALENDAR_SHIM_S");
  if (!failed && shift != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += atoll(shift);
  return failed;
}
