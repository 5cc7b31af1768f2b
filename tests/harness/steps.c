/* Counts the steps by which a program changes files or speaks to the network, and stops it at one of
 * them, or lets one fail. Preloaded into the unmodified program; what it starts is left alone.
 *
 * A step is a call that changes something below STEPS_ROOT, or that concerns an internet socket.
 * Calls that bypass libc cannot be seen here: `tests/crash.rs` lists them with strace.
 *
 *   STEPS_LOG=<file>              one line a step: number, microseconds, call, path or `socket`
 *   STEPS_KILL=<n>:before|after   SIGKILL to itself around step n
 *   STEPS_FAIL=<n>:<errno>[-<m>]  step n fails; with `-<m>` all to step m
 *   STEPS_SLOW=<ms>               fsync and fdatasync take this long
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static long kill_at, fail_at, fail_to, slow_ms;
static int kill_after, fail_errno;
static atomic_long counter;
/* How long the file is to be at least after the call that is under way. */
static __thread long long grows_to;

__attribute__((constructor)) static void begin(void) {
  const char *value = getenv("STEPS_ROOT");
  if (value != NULL) {
    snprintf(root, sizeof root, "%s", value);
    root_length = strlen(root);
  }
  if ((value = getenv("STEPS_LOG")) != NULL)
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if ((value = getenv("STEPS_KILL")) != NULL) {
    kill_at = atol(value);
    kill_after = strstr(value, ":after") != NULL;
  }
  if ((value = getenv("STEPS_FAIL")) != NULL) {
    char *end;
    fail_at = strtol(value, &end, 10);
    fail_errno = *end == ':' ? (int)strtol(end + 1, &end, 10) : EIO;
    fail_to = *end == '-' ? strtol(end + 1, NULL, 10) : fail_at;
  }
  if ((value = getenv("STEPS_SLOW")) != NULL) slow_ms = atol(value);
  const char *ours[] = {"LD_PRELOAD", "STEPS_ROOT", "STEPS_LOG", "STEPS_KILL", "STEPS_FAIL", "STEPS_SLOW"};
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) unsetenv(ours[i]);
}

/* What a call concerns: nothing that counts, a file below the root, or a socket. */
enum what { NOTHING, FILE_BELOW, SOCKET };

static enum what of_path(int dir, const char *path, char *full) {
  if (root_length == 0 || path == NULL) return NOTHING;
  if (path[0] == '/') {
    snprintf(full, PATH_MAX, "%s", path);
  } else {
    char link[64];
    if (dir == AT_FDCWD)
      snprintf(link, sizeof link, "/proc/self/cwd");
    else
      snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t length = readlink(link, full, PATH_MAX / 2);
    if (length < 0) return NOTHING;
    snprintf(full + length, PATH_MAX - (size_t)length, "/%s", path);
  }
  return strncmp(full, root, root_length) == 0 && full[root_length] == '/' ? FILE_BELOW : NOTHING;
}

static enum what of_fd(int fd, char *full) {
  int before = errno;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, full, PATH_MAX - 1);
  enum what what = NOTHING;
  if (length > 0 && root_length > 0) {
    full[length] = 0;
    if (strncmp(full, "socket:", 7) == 0) {
      struct sockaddr_storage address;
      socklen_t size = sizeof address;
      if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
          (address.ss_family == AF_INET || address.ss_family == AF_INET6))
        what = SOCKET;
      snprintf(full, PATH_MAX, "socket");
    } else if (strncmp(full, root, root_length) == 0 && full[root_length] == '/') {
      what = FILE_BELOW;
    }
  }
  errno = before;
  return what;
}

static void stop(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/* A full disk keeps nobody from writing where there is something already, from removing files or
 * from changing modes; nothing keeps locks from being taken. */
static int can_fail(const char *call, const char *full) {
  if (strcmp(call, "flock") == 0) return 0;
  if (fail_errno != ENOSPC && fail_errno != EDQUOT) return 1;
  struct stat now;
  int exists = syscall(SYS_newfstatat, AT_FDCWD, full, &now, 0) == 0;
  if (strcmp(call, "open") == 0 || strcmp(call, "mkdir") == 0 || strcmp(call, "link") == 0) return !exists;
  if (strstr(call, "write") != NULL || strcmp(call, "ftruncate") == 0) return !exists || grows_to > now.st_size;
  return strcmp(call, "fallocate") == 0;
}

/* Takes a number; whether the call is to fail. */
static int enter(const char *call, enum what what, const char *full, long *number) {
  int before = errno;
  *number = atomic_fetch_add(&counter, 1) + 1;
  if (log_fd >= 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[PATH_MAX + 128];
    int length = snprintf(line, sizeof line, "%ld %lld %s %s\n", *number,
                          (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000, call,
                          what == SOCKET ? "socket" : full + root_length + 1);
    syscall(SYS_write, log_fd, line, (size_t)length);
  }
  if (*number == kill_at && !kill_after) stop();
  if (slow_ms > 0 && (strcmp(call, "fsync") == 0 || strcmp(call, "fdatasync") == 0)) {
    struct timespec pause_for = {slow_ms / 1000, slow_ms % 1000 * 1000000};
    nanosleep(&pause_for, NULL);
  }
  int fails = *number >= fail_at && *number <= fail_to && what == FILE_BELOW && can_fail(call, full);
  errno = before;
  return fails;
}

static void leave(long number) {
  if (number == kill_at && kill_after) stop();
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) abort();
  return found;
}

/* The call itself: `subject` says whether it is a step, `run` is libc's own. */
#define STEP(type, call, subject, full, run)          \
  enum what concerns = (subject);                     \
  if (concerns == NOTHING) return (run);              \
  long number;                                        \
  if (enter(call, concerns, full, &number)) {         \
    errno = fail_errno;                               \
    leave(number);                                    \
    return (type)-1;                                  \
  }                                                   \
  type result = (run);                                \
  int after = errno;                                  \
  leave(number);                                      \
  errno = after;                                      \
  return result

#define MAKES (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))
#define MODE                                     \
  mode_t mode = 0;                               \
  if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list more;                                \
    va_start(more, flags);                       \
    mode = va_arg(more, mode_t);                 \
    va_end(more);                                \
  }

#define OPEN(name)                                                                              \
  int name(const char *path, int flags, ...) {                                                  \
    MODE char full[PATH_MAX];                                                                   \
    STEP(int, "open", flags & MAKES ? of_path(AT_FDCWD, path, full) : NOTHING, full,             \
         REAL(name)(path, flags, mode));                                                        \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                            \
  int name(int dir, const char *path, int flags, ...) {                                         \
    MODE char full[PATH_MAX];                                                                   \
    STEP(int, "open", flags & MAKES ? of_path(dir, path, full) : NOTHING, full,                  \
         REAL(name)(dir, path, flags, mode));                                                   \
  }
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) {
  char full[PATH_MAX];
  STEP(int, "open", of_path(AT_FDCWD, path, full), full, REAL(creat)(path, mode));
}

#define ON_FD(type, name, call, parameters, arguments)                    \
  type name parameters {                                                  \
    char full[PATH_MAX];                                                  \
    STEP(type, call, of_fd(fd, full), full, REAL(name) arguments);        \
  }

/* The same for calls that may make the file longer. */
static long long total(const struct iovec *parts, int count) {
  long long size = 0;
  for (int i = 0; i < count; i++) size += (long long)parts[i].iov_len;
  return size;
}
#define GROWS(type, name, call, to, parameters, arguments)                \
  type name parameters {                                                  \
    char full[PATH_MAX];                                                  \
    enum what on = of_fd(fd, full);                                       \
    if (on == FILE_BELOW) grows_to = (to);                                \
    STEP(type, call, on, full, REAL(name) arguments);                     \
  }
#define HERE ((long long)lseek(fd, 0, SEEK_CUR))
GROWS(ssize_t, write, "write", HERE + (long long)size, (int fd, const void *bytes, size_t size), (fd, bytes, size))
GROWS(ssize_t, writev, "writev", HERE + total(parts, count), (int fd, const struct iovec *parts, int count), (fd, parts, count))
GROWS(ssize_t, pwrite, "pwrite", at + (long long)size, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
GROWS(ssize_t, pwrite64, "pwrite", at + (long long)size, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at))
GROWS(ssize_t, pwritev, "pwrite", at + total(parts, count), (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
GROWS(ssize_t, pwritev64, "pwrite", at + total(parts, count), (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
GROWS(int, ftruncate, "ftruncate", size, (int fd, off_t size), (fd, size))
GROWS(int, ftruncate64, "ftruncate", size, (int fd, off64_t size), (fd, size))
ON_FD(int, fallocate, "fallocate", (int fd, int kind, off_t at, off_t size), (fd, kind, at, size))
ON_FD(int, fallocate64, "fallocate", (int fd, int kind, off64_t at, off64_t size), (fd, kind, at, size))
ON_FD(int, fsync, "fsync", (int fd), (fd))
ON_FD(int, fdatasync, "fdatasync", (int fd), (fd))
ON_FD(int, fchmod, "fchmod", (int fd, mode_t mode), (fd, mode))
ON_FD(int, fchown, "fchown", (int fd, uid_t user, gid_t group), (fd, user, group))
ON_FD(int, flock, "flock", (int fd, int kind), (fd, kind))

/* These answer with an error number and leave errno alone. */
#define ALLOCATE(name, offset)                                                          \
  int name(int fd, offset at, offset size) {                                            \
    char full[PATH_MAX];                                                                \
    enum what concerns = of_fd(fd, full);                                               \
    if (concerns == NOTHING) return REAL(name)(fd, at, size);                           \
    long number;                                                                        \
    int fails = enter("fallocate", concerns, full, &number);                            \
    int result = fails ? fail_errno : REAL(name)(fd, at, size);                         \
    leave(number);                                                                      \
    return result;                                                                      \
  }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

#define ON_PATH(name, call, dir, parameters, arguments)                            \
  int name parameters {                                                            \
    char full[PATH_MAX];                                                           \
    STEP(int, call, of_path(dir, path, full), full, REAL(name) arguments);         \
  }
ON_PATH(rename, "rename", AT_FDCWD, (const char *from, const char *path), (from, path))
ON_PATH(renameat, "rename", dir, (int from_dir, const char *from, int dir, const char *path), (from_dir, from, dir, path))
ON_PATH(renameat2, "rename", dir, (int from_dir, const char *from, int dir, const char *path, unsigned flags), (from_dir, from, dir, path, flags))
ON_PATH(link, "link", AT_FDCWD, (const char *from, const char *path), (from, path))
ON_PATH(linkat, "link", dir, (int from_dir, const char *from, int dir, const char *path, int flags), (from_dir, from, dir, path, flags))
ON_PATH(symlink, "symlink", AT_FDCWD, (const char *to, const char *path), (to, path))
ON_PATH(unlink, "unlink", AT_FDCWD, (const char *path), (path))
ON_PATH(unlinkat, "unlink", dir, (int dir, const char *path, int flags), (dir, path, flags))
ON_PATH(rmdir, "rmdir", AT_FDCWD, (const char *path), (path))
ON_PATH(mkdir, "mkdir", AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, "mkdir", dir, (int dir, const char *path, mode_t mode), (dir, path, mode))
ON_PATH(chmod, "chmod", AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(fchmodat, "chmod", dir, (int dir, const char *path, mode_t mode, int flags), (dir, path, mode, flags))
ON_PATH(truncate, "truncate", AT_FDCWD, (const char *path, off_t size), (path, size))
ON_PATH(truncate64, "truncate", AT_FDCWD, (const char *path, off64_t size), (path, size))

ON_FD(int, connect, "connect", (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
ON_FD(ssize_t, send, "send", (int fd, const void *bytes, size_t size, int flags), (fd, bytes, size, flags))
ON_FD(ssize_t, sendto, "send", (int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length), (fd, bytes, size, flags, to, length))
ON_FD(ssize_t, sendmsg, "send", (int fd, const struct msghdr *message, int flags), (fd, message, flags))
ON_FD(int, shutdown, "shutdown", (int fd, int how), (fd, how))

/* Only sockets, and only when there is something to read: how often nothing was there is chance. */
static enum what of_reading(int fd, char *full) {
  if (of_fd(fd, full) != SOCKET) return NOTHING;
  char byte;
  int before = errno;
  ssize_t waits = REAL(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  errno = before;
  return waits < 0 ? NOTHING : SOCKET;
}
#define READING(name, parameters, arguments)                                          \
  ssize_t name parameters {                                                           \
    char full[PATH_MAX];                                                              \
    STEP(ssize_t, "recv", of_reading(fd, full), full, REAL(name) arguments);          \
  }
READING(recv, (int fd, void *bytes, size_t size, int flags), (fd, bytes, size, flags))
READING(recvfrom, (int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *length), (fd, bytes, size, flags, from, length))
READING(recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
READING(read, (int fd, void *bytes, size_t size), (fd, bytes, size))
READING(readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
