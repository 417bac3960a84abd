/* Lets a program see the time of day shifted by the seconds, a double, in the file named by CLOCK_SHIFT.
 * Loaded with LD_PRELOAD; the file is mapped, so that the clock steps when it is written to. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile double *shift;

static void shifted(struct timespec *now) {
  if (!shift) {
    int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    shift = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    close(file);
  }
  long long nanoseconds = now->tv_nsec + (long long)(*shift * 1e9);
  long long seconds = now->tv_sec + nanoseconds / 1000000000;
  nanoseconds %= 1000000000;
  now->tv_sec = seconds - (nanoseconds < 0);
  now->tv_nsec = nanoseconds + (nanoseconds < 0 ? 1000000000 : 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && clock == CLOCK_REALTIME) shifted(now);
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}
