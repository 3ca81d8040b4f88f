/* Lets PostgreSQL read the tables of a frozen folder without copying them: preloaded into the server of an overlay.
**
** PostgreSQL opens every file of a table to read and write, and an overlay copies a file that is opened so, whatever is
** done with it then. Here such a file is opened to read, and opened again to write, in its place, at the first write.
** Between the two nothing can go wrong that could not before: the kernel looks at each read where the file is by now
** (since Linux 4.19), so a process that has it open to read sees what another one has written.
**
** A write that finds no space to copy the file fails as any write does then. Files beside tables are left alone.
*/
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536 /* beyond that number, files are opened as they were asked for */
#define MODES (O_ACCMODE | O_CREAT | O_TRUNC | O_EXCL | O_APPEND | O_DIRECT)

static char shared[FILES]; /* of a file's number: it is open to read only, and nobody knows */

/* What it would have called without this. */
#define NEXT(name)                                                                                                     \
  ({                                                                                                                   \
    static __typeof__(&name) next;                                                                                     \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                      \
    next;                                                                                                              \
  })

/* base/DATABASE/NUMBER and what belongs to it, as PostgreSQL names it in its own folder. */
static int is_table(const char *path) {
  const char *name = strrchr(path, '/');
  return strncmp(path, "base/", 5) == 0 && name && isdigit((unsigned char)name[1]);
}

static int marked(int file, int as) {
  if (file >= 0 && file < FILES) shared[file] = (char)as;
  return file;
}

/* 0 when it can be written to; -1 with errno. */
static int own(int file) {
  char path[64];
  int flags, fresh, moved;
  if (file < 0 || file >= FILES || !shared[file]) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  flags = fcntl(file, F_GETFD);
  fresh = NEXT(open)(path, O_RDWR | O_CLOEXEC);
  if (fresh < 0) return -1;
  moved = dup3(fresh, file, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
  NEXT(close)(fresh);
  if (moved < 0) return -1;
  shared[file] = 0;
  return 0;
}

static int opened(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  int file;
  if ((flags & MODES) != O_RDWR || !is_table(path)) return marked(next(path, flags, mode), 0);
  file = next(path, (flags & ~O_ACCMODE) | O_RDONLY);
  return marked(file, file >= 0 && file < FILES);
}

#define OPEN(name)                                                                                                     \
  int name(const char *path, int flags, ...) {                                                                         \
    va_list more;                                                                                                      \
    mode_t mode;                                                                                                       \
    va_start(more, flags);                                                                                             \
    mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                                 \
    va_end(more);                                                                                                      \
    return opened(NEXT(name), path, flags, mode);                                                                      \
  }
OPEN(open)
OPEN(open64)

int close(int file) {
  marked(file, 0);
  return NEXT(close)(file);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
  return own(file) ? -1 : NEXT(pwrite)(file, bytes, size, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  return own(file) ? -1 : NEXT(pwrite64)(file, bytes, size, at);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
  return own(file) ? -1 : NEXT(pwritev)(file, parts, count, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
  return own(file) ? -1 : NEXT(pwritev64)(file, parts, count, at);
}

ssize_t write(int file, const void *bytes, size_t size) {
  return own(file) ? -1 : NEXT(write)(file, bytes, size);
}

int ftruncate(int file, off_t size) {
  return own(file) ? -1 : NEXT(ftruncate)(file, size);
}

int ftruncate64(int file, off64_t size) {
  return own(file) ? -1 : NEXT(ftruncate64)(file, size);
}

int posix_fallocate(int file, off_t at, off_t size) {
  return own(file) ? errno : NEXT(posix_fallocate)(file, at, size);
}

int posix_fallocate64(int file, off64_t at, off64_t size) {
  return own(file) ? errno : NEXT(posix_fallocate64)(file, at, size);
}

/* A table that is dropped is cut to nothing first: that needs no copy of what it held. */
int truncate(const char *path, off_t size) {
  int file;
  if (size != 0 || !is_table(path)) return NEXT(truncate)(path, size);
  file = NEXT(open)(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
  return file < 0 ? -1 : NEXT(close)(file);
}

int truncate64(const char *path, off64_t size) {
  return size == 0 && is_table(path) ? truncate(path, 0) : NEXT(truncate64)(path, size);
}
