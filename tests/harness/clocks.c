/* Moves the clocks of the unmodified program that it is preloaded into. CLOCKS_FILE holds two 64-bit
 * numbers, read at every look: milliseconds by which the wall clock is ahead, and those of the clocks
 * that a sleeping machine stops. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CLOCKS_FILE");
  int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) abort();
  void *map = mmap(NULL, 2 * sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (map == MAP_FAILED) abort();
  ahead = map;
  unsetenv("LD_PRELOAD");
  unsetenv("CLOCKS_FILE");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int done = (int)syscall(SYS_clock_gettime, clock, time);
  if (done != 0 || ahead == NULL) return done;
  int64_t millis = 0;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) millis = ahead[0];
  if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) millis = ahead[1];
  int64_t nanos = time->tv_nsec + millis % 1000 * 1000000;
  time->tv_sec += millis / 1000 + nanos / 1000000000;
  time->tv_nsec = nanos % 1000000000;
  return done;
}
