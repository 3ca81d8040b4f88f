/* Databases in pages, for any program that uses SQLite: a loadable extension that registers the VFS `bough` and makes it
** the default. A file that is not such a database opens as it would without it. The format is told in format.py.
**
** Nothing here calls SQLite after registration, so that one loaded file serves several SQLite libraries of a process.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The shapes of SQLite's interface that are used here, fixed by its promise to extensions: no header of it is needed. */
typedef long long sqlite3_int64;
typedef struct sqlite3 sqlite3;
typedef void *const sqlite3_api_routines;
typedef struct sqlite3_io_methods sqlite3_io_methods;
typedef struct sqlite3_file { const sqlite3_io_methods *pMethods; } sqlite3_file;
struct sqlite3_io_methods {
  int iVersion;
  int (*xClose)(sqlite3_file *);
  int (*xRead)(sqlite3_file *, void *, int, sqlite3_int64);
  int (*xWrite)(sqlite3_file *, const void *, int, sqlite3_int64);
  int (*xTruncate)(sqlite3_file *, sqlite3_int64);
  int (*xSync)(sqlite3_file *, int);
  int (*xFileSize)(sqlite3_file *, sqlite3_int64 *);
  int (*xLock)(sqlite3_file *, int);
  int (*xUnlock)(sqlite3_file *, int);
  int (*xCheckReservedLock)(sqlite3_file *, int *);
  int (*xFileControl)(sqlite3_file *, int, void *);
  int (*xSectorSize)(sqlite3_file *);
  int (*xDeviceCharacteristics)(sqlite3_file *);
  int (*xShmMap)(sqlite3_file *, int, int, int, void volatile **);
  int (*xShmLock)(sqlite3_file *, int, int, int);
  void (*xShmBarrier)(sqlite3_file *);
  int (*xShmUnmap)(sqlite3_file *, int);
  int (*xFetch)(sqlite3_file *, sqlite3_int64, int, void **);
  int (*xUnfetch)(sqlite3_file *, sqlite3_int64, void *);
};
typedef struct sqlite3_vfs sqlite3_vfs;
struct sqlite3_vfs {
  int iVersion;
  int szOsFile;
  int mxPathname;
  sqlite3_vfs *pNext;
  const char *zName;
  void *pAppData;
  int (*xOpen)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
  int (*xDelete)(sqlite3_vfs *, const char *, int);
  int (*xAccess)(sqlite3_vfs *, const char *, int, int *);
  int (*xFullPathname)(sqlite3_vfs *, const char *, int, char *);
  void *(*xDlOpen)(sqlite3_vfs *, const char *);
  void (*xDlError)(sqlite3_vfs *, int, char *);
  void (*(*xDlSym)(sqlite3_vfs *, void *, const char *))(void);
  void (*xDlClose)(sqlite3_vfs *, void *);
  int (*xRandomness)(sqlite3_vfs *, int, char *);
  int (*xSleep)(sqlite3_vfs *, int);
  int (*xCurrentTime)(sqlite3_vfs *, double *);
  int (*xGetLastError)(sqlite3_vfs *, int, char *);
  int (*xCurrentTimeInt64)(sqlite3_vfs *, sqlite3_int64 *);
  int (*xSetSystemCall)(sqlite3_vfs *, const char *, void (*)(void));
  void (*(*xGetSystemCall)(sqlite3_vfs *, const char *))(void);
  const char *(*xNextSystemCall)(sqlite3_vfs *, const char *);
};
typedef sqlite3_vfs *(*vfs_find)(const char *);
typedef int (*vfs_register)(sqlite3_vfs *, int);
enum { VFS_FIND = 141, VFS_REGISTER = 142 }; /* places in the table of routines that SQLite hands over */

enum {
  SQLITE_OK = 0, SQLITE_NOMEM = 7, SQLITE_READONLY = 8, SQLITE_IOERR = 10, SQLITE_NOTFOUND = 12, SQLITE_FULL = 13,
  SQLITE_CANTOPEN = 14,
  SQLITE_IOERR_READ = SQLITE_IOERR | 1 << 8, SQLITE_IOERR_SHORT_READ = SQLITE_IOERR | 2 << 8,
  SQLITE_IOERR_WRITE = SQLITE_IOERR | 3 << 8, SQLITE_IOERR_FSYNC = SQLITE_IOERR | 4 << 8,
  SQLITE_IOERR_TRUNCATE = SQLITE_IOERR | 6 << 8, SQLITE_IOERR_FSTAT = SQLITE_IOERR | 7 << 8,
  SQLITE_IOERR_LOCK = SQLITE_IOERR | 15 << 8, SQLITE_IOERR_SHMLOCK = SQLITE_IOERR | 20 << 8, SQLITE_SHM_LOCK = 2,
  SQLITE_OK_LOAD_PERMANENTLY = SQLITE_OK | 1 << 8,
  SQLITE_OPEN_READONLY = 0x1, SQLITE_OPEN_EXCLUSIVE = 0x10, SQLITE_OPEN_MAIN_DB = 0x100,
  SQLITE_IOCAP_POWERSAFE_OVERWRITE = 0x1000,
  SQLITE_FCNTL_SIZE_HINT = 5, SQLITE_FCNTL_CHUNK_SIZE = 6, SQLITE_FCNTL_MMAP_SIZE = 18,
  SQLITE_FCNTL_BEGIN_ATOMIC_WRITE = 31, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE = 32, SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE = 33,
};

#define MAGIC "bough pages 1\n\0"
#define LAYERS_MAGIC "bough layers 1"
#define MAGIC_SIZE 16
#define GRAIN 4096
#define HEAD_SIZE 4096
#define BITS_SIZE (16u << 20) /* of a mapped file of bits: databases of up to 512 GiB */
#define DEEP 3                /* frozen layers; with more, who has which grain is looked up once */
#define NOBODY 0xffff

typedef struct Head {
  char magic[MAGIC_SIZE];
  volatile uint64_t generation;
  volatile uint64_t size;
  volatile uint64_t limit[2];
} Head;

typedef struct Layer {
  int fd;
  int bits_fd;
  uint8_t *bits; /* null: it has every grain */
  size_t bits_size;
  uint64_t limit; /* what lies below shows up to here; that of the top is in the head */
} Layer;

typedef struct File {
  sqlite3_file base;
  sqlite3_file *real; /* the file that was opened: holds no data, carries the locks */
  char *path;
  Head *head;
  uint64_t generation;
  int depth;
  Layer *layers; /* the top first */
  uint16_t *owner; /* of each grain, the frozen layer that has it; null while there are few layers */
  uint64_t owned;  /* grains in `owner` */
  int readonly;
  int dirty;
} File;

static void close_layers(File *f){
  for(int i = 0; i < f->depth; i++){
    Layer *each = &f->layers[i];
    if( each->bits ) munmap(each->bits, each->bits_size);
    if( each->bits_fd >= 0 ) close(each->bits_fd);
    if( each->fd >= 0 ) close(each->fd);
  }
  free(f->layers);
  free(f->owner);
  f->layers = 0;
  f->owner = 0;
  f->depth = 0;
}

static int open_layer(File *f, Layer *into, const char *kind, const char *name, int top){
  char path[PATH_MAX + 8];
  const char *slash = strrchr(f->path, '/');
  int folder = slash ? (int)(slash - f->path) + 1 : 0;
  int n = name[0] == '/' ? snprintf(path, PATH_MAX, "%s", name)
                         : snprintf(path, PATH_MAX, "%.*s%s", folder, f->path, name);
  if( n < 0 || n >= PATH_MAX ) return SQLITE_CANTOPEN;
  int flags = (top && !f->readonly ? O_RDWR : O_RDONLY) | O_CLOEXEC;
  into->fd = open(path, flags);
  into->bits_fd = -1;
  into->bits = 0;
  if( into->fd < 0 ) return SQLITE_CANTOPEN;
  if( strcmp(kind, "whole") == 0 ) return SQLITE_OK;
  strcat(path, ".bits");
  into->bits_fd = open(path, flags);
  struct stat st;
  if( into->bits_fd < 0 || fstat(into->bits_fd, &st) || st.st_size != BITS_SIZE ) return SQLITE_CANTOPEN;
  into->bits_size = BITS_SIZE;
  into->bits = mmap(0, BITS_SIZE, PROT_READ, MAP_SHARED, into->bits_fd, 0);
  if( into->bits == MAP_FAILED ){ into->bits = 0; return SQLITE_NOMEM; }
  return SQLITE_OK;
}

static int has(const Layer *layer, uint64_t grain){
  if( !layer->bits ) return 1;
  return grain / 8 < layer->bits_size && (layer->bits[grain / 8] >> (grain & 7) & 1);
}

static int find_owners(File *f){
  uint64_t grains = (f->layers[0].limit = f->head->limit[f->generation & 1], f->layers[0].limit + GRAIN - 1) / GRAIN;
  f->owned = grains;
  f->owner = malloc(grains ? grains * sizeof(uint16_t) : 1);
  if( !f->owner ) return SQLITE_NOMEM;
  memset(f->owner, 0xff, grains * sizeof(uint16_t));
  for(int i = f->depth - 1; i > 0; i--){
    uint64_t from = (f->layers[i].limit + GRAIN - 1) / GRAIN;
    for(uint64_t g = from; g < grains; g++) f->owner[g] = NOBODY;
    for(uint64_t g = 0; g < grains; g++){
      if( f->layers[i].bits && (g & 63) == 0 && g / 8 + 8 <= f->layers[i].bits_size ){
        uint64_t word;
        memcpy(&word, f->layers[i].bits + g / 8, 8);
        if( word == 0 ){ g += 63; continue; }
      }
      if( has(&f->layers[i], g) ) f->owner[g] = (uint16_t)i;
    }
  }
  return SQLITE_OK;
}

/* Takes in the layers of the present generation. */
static int load(File *f){
  uint64_t generation = f->head->generation;
  if( generation == 0 ) return SQLITE_IOERR; /* another database stands here now: open it again */
  char path[PATH_MAX + 32], line[PATH_MAX + 64], kind[8], name[PATH_MAX];
  snprintf(path, sizeof path, "%s-layers.%llu", f->path, (unsigned long long)generation);
  FILE *list = fopen(path, "re");
  if( !list ) return SQLITE_CANTOPEN;
  close_layers(f);
  int rc = SQLITE_OK, room = 0;
  if( !fgets(line, sizeof line, list) || strncmp(line, LAYERS_MAGIC, strlen(LAYERS_MAGIC)) ) rc = SQLITE_CANTOPEN;
  while( rc == SQLITE_OK && fgets(line, sizeof line, list) ){
    unsigned long long limit;
    if( sscanf(line, "%7s %llu %4095[^\n]", kind, &limit, name) != 3 ){ rc = SQLITE_CANTOPEN; break; }
    if( f->depth == room ){
      room = room ? room * 2 : 8;
      Layer *more = realloc(f->layers, room * sizeof(Layer));
      if( !more ){ rc = SQLITE_NOMEM; break; }
      f->layers = more;
    }
    Layer *made = &f->layers[f->depth];
    made->limit = limit;
    rc = open_layer(f, made, kind, name, f->depth == 0);
    f->depth++;
  }
  fclose(list);
  if( rc == SQLITE_OK && f->depth == 0 ) rc = SQLITE_CANTOPEN;
  f->generation = generation;
  if( rc == SQLITE_OK && f->depth > DEEP ) rc = find_owners(f);
  if( rc != SQLITE_OK ){ close_layers(f); f->generation = 0; }
  return rc;
}

static int current(File *f){
  return f->head->generation == f->generation && f->depth ? SQLITE_OK : load(f);
}

static uint64_t limit_of(File *f){
  return f->head->limit[f->generation & 1];
}

/* Which frozen layer has a grain; 0: none, it is zeros. `until` becomes where in the grain zeros begin. */
static int below(File *f, uint64_t grain, uint64_t *until){
  uint64_t limit = limit_of(f), start = grain * GRAIN;
  if( f->owner ){
    if( start >= limit || grain >= f->owned || f->owner[grain] == NOBODY ) return 0;
    int owner = f->owner[grain];
    for(int i = 1; i < owner; i++) if( f->layers[i].limit < limit ) limit = f->layers[i].limit;
    *until = limit;
    return owner;
  }
  for(int i = 1; i < f->depth && start < limit; i++){
    if( has(&f->layers[i], grain) ){ *until = limit; return i; }
    if( f->layers[i].limit < limit ) limit = f->layers[i].limit;
  }
  return 0;
}

static int read_all(int fd, uint8_t *into, size_t n, off_t at){
  while( n ){
    ssize_t got = pread(fd, into, n, at);
    if( got < 0 ){ if( errno == EINTR ) continue; return SQLITE_IOERR_READ; }
    if( got == 0 ){ memset(into, 0, n); return SQLITE_OK; }
    into += got; at += got; n -= got;
  }
  return SQLITE_OK;
}

static int write_all(int fd, const uint8_t *from, size_t n, off_t at){
  while( n ){
    ssize_t put = pwrite(fd, from, n, at);
    if( put < 0 ){
      if( errno == EINTR ) continue;
      return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    from += put; at += put; n -= put;
  }
  return SQLITE_OK;
}

/* Part of one grain. */
static int read_grain(File *f, uint8_t *into, size_t n, uint64_t at){
  uint64_t grain = at / GRAIN, until = UINT64_MAX;
  int source = has(&f->layers[0], grain) ? 0 : below(f, grain, &until);
  if( source == 0 && !has(&f->layers[0], grain) ){ memset(into, 0, n); return SQLITE_OK; }
  int rc = read_all(f->layers[source].fd, into, n, at);
  if( rc == SQLITE_OK && source && at + n > until ){
    size_t keep = until > at ? until - at : 0;
    memset(into + keep, 0, n - keep);
  }
  return rc;
}

static int set_bits(File *f, uint64_t first, uint64_t last){
  Layer *top = &f->layers[0];
  for(uint64_t at = first / 8; at <= last / 8; at++){
    if( at >= top->bits_size ) return SQLITE_FULL;
    uint8_t mask = 0xff;
    if( at == first / 8 ) mask &= (uint8_t)(0xff << (first & 7));
    if( at == last / 8 ) mask &= (uint8_t)(0xff >> (7 - (last & 7)));
    uint8_t want = top->bits[at] | mask;
    if( want == top->bits[at] ) continue;
    /* written, not stored through the map: a full disk must be an error and not a signal */
    int rc = write_all(top->bits_fd, &want, 1, at);
    if( rc != SQLITE_OK ) return rc;
  }
  return SQLITE_OK;
}

static int x_close(sqlite3_file *file){
  File *f = (File *)file;
  close_layers(f);
  if( f->head ) munmap(f->head, HEAD_SIZE);
  free(f->path);
  f->head = 0;
  f->path = 0;
  return f->real->pMethods ? f->real->pMethods->xClose(f->real) : SQLITE_OK;
}

static int x_read(sqlite3_file *file, void *into, int n, sqlite3_int64 offset){
  File *f = (File *)file;
  int rc = current(f);
  if( rc != SQLITE_OK ) return rc == SQLITE_NOMEM ? rc : SQLITE_IOERR_READ;
  uint8_t *to = into;
  uint64_t at = offset, size = f->head->size;
  int whole = at + n <= size;
  if( !whole ){
    int there = at < size ? (int)(size - at) : 0;
    memset(to + there, 0, n - there);
    n = there;
  }
  while( n > 0 && rc == SQLITE_OK ){
    int part = GRAIN - (int)(at % GRAIN);
    if( part > n ) part = n;
    rc = read_grain(f, to, part, at);
    to += part; at += part; n -= part;
  }
  return rc != SQLITE_OK ? rc : whole ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int write_part(File *f, const uint8_t *from, size_t n, uint64_t at){
  Layer *top = &f->layers[0];
  uint64_t grain = at / GRAIN;
  if( has(top, grain) ) return write_all(top->fd, from, n, at);
  uint8_t whole[GRAIN];
  int rc = read_grain(f, whole, GRAIN, grain * GRAIN);
  if( rc != SQLITE_OK ) return rc;
  memcpy(whole + at % GRAIN, from, n);
  rc = write_all(top->fd, whole, GRAIN, grain * GRAIN);
  /* what lies beside is in no journal: it must be on the disk before the bit says that it is here */
  if( rc == SQLITE_OK && fdatasync(top->fd) ) rc = SQLITE_IOERR_FSYNC;
  return rc == SQLITE_OK ? set_bits(f, grain, grain) : rc;
}

static int x_write(sqlite3_file *file, const void *content, int n, sqlite3_int64 offset){
  File *f = (File *)file;
  if( f->readonly ) return SQLITE_READONLY;
  int rc = current(f);
  if( rc != SQLITE_OK ) return rc == SQLITE_NOMEM ? rc : SQLITE_IOERR_WRITE;
  const uint8_t *from = content;
  uint64_t at = offset, end = at + n;
  f->dirty = 1;
  while( n > 0 && rc == SQLITE_OK ){
    int part = n;
    if( at % GRAIN || n < GRAIN ){
      if( part > GRAIN - (int)(at % GRAIN) ) part = GRAIN - (int)(at % GRAIN);
      rc = write_part(f, from, part, at);
    }else{
      part = n - n % GRAIN;
      rc = write_all(f->layers[0].fd, from, part, at);
      if( rc == SQLITE_OK ) rc = set_bits(f, at / GRAIN, (at + part) / GRAIN - 1);
    }
    from += part; at += part; n -= part;
  }
  if( rc == SQLITE_OK && end > f->head->size ) f->head->size = end;
  return rc;
}

static int x_truncate(sqlite3_file *file, sqlite3_int64 size){
  File *f = (File *)file;
  if( f->readonly ) return SQLITE_READONLY;
  int rc = current(f);
  if( rc != SQLITE_OK ) return SQLITE_IOERR_TRUNCATE;
  Layer *top = &f->layers[0];
  uint64_t first = ((uint64_t)size + GRAIN - 1) / GRAIN, last = (f->head->size + GRAIN - 1) / GRAIN;
  f->dirty = 1;
  if( limit_of(f) > (uint64_t)size ) f->head->limit[f->generation & 1] = size;
  f->head->size = size;
  for(uint64_t at = first / 8; at < top->bits_size && at <= last / 8 && rc == SQLITE_OK; at++){
    uint8_t kept = at == first / 8 ? (uint8_t)(top->bits[at] & ~(0xff << (first & 7))) : 0;
    if( kept != top->bits[at] ) rc = write_all(top->bits_fd, &kept, 1, at);
  }
  struct stat st;
  if( rc == SQLITE_OK && fstat(top->fd, &st) == 0 && st.st_size > size && ftruncate(top->fd, size) )
    rc = SQLITE_IOERR_TRUNCATE;
  return rc;
}

static int x_sync(sqlite3_file *file, int flags){
  File *f = (File *)file;
  (void)flags;
  if( !f->dirty || !f->depth ) return SQLITE_OK;
  if( fdatasync(f->layers[0].fd) || fdatasync(f->layers[0].bits_fd) ) return SQLITE_IOERR_FSYNC;
  if( msync(f->head, HEAD_SIZE, MS_SYNC) ) return SQLITE_IOERR_FSYNC;
  f->dirty = 0;
  return SQLITE_OK;
}

static int x_file_size(sqlite3_file *file, sqlite3_int64 *size){
  File *f = (File *)file;
  if( current(f) != SQLITE_OK ) return SQLITE_IOERR_FSTAT;
  *size = (sqlite3_int64)f->head->size;
  return SQLITE_OK;
}

#define REAL(file) (((File *)(file))->real)

/* In WAL mode a transaction may touch nothing but cached pages and the WAL: what was replaced is noticed here. */
static int x_lock(sqlite3_file *file, int kind){
  if( ((File *)file)->head->generation == 0 ) return SQLITE_IOERR_LOCK;
  return REAL(file)->pMethods->xLock(REAL(file), kind);
}
static int x_unlock(sqlite3_file *file, int kind){ return REAL(file)->pMethods->xUnlock(REAL(file), kind); }
static int x_reserved(sqlite3_file *file, int *held){ return REAL(file)->pMethods->xCheckReservedLock(REAL(file), held); }
static int x_sector(sqlite3_file *file){ return REAL(file)->pMethods->xSectorSize(REAL(file)); }

static int x_characteristics(sqlite3_file *file){
  return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file)) & SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int x_control(sqlite3_file *file, int what, void *argument){
  switch( what ){
    case SQLITE_FCNTL_SIZE_HINT: /* these would write into the file that holds the locks */
    case SQLITE_FCNTL_CHUNK_SIZE: return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE: *(sqlite3_int64 *)argument = 0; return SQLITE_OK;
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE: return SQLITE_NOTFOUND;
  }
  return REAL(file)->pMethods->xFileControl(REAL(file), what, argument);
}

static int x_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **found){
  return REAL(file)->pMethods->xShmMap(REAL(file), page, size, extend, found);
}
static int x_shm_lock(sqlite3_file *file, int offset, int n, int flags){
  if( (flags & SQLITE_SHM_LOCK) && ((File *)file)->head->generation == 0 ) return SQLITE_IOERR_SHMLOCK;
  return REAL(file)->pMethods->xShmLock(REAL(file), offset, n, flags);
}
static void x_shm_barrier(sqlite3_file *file){ REAL(file)->pMethods->xShmBarrier(REAL(file)); }
static int x_shm_unmap(sqlite3_file *file, int gone){ return REAL(file)->pMethods->xShmUnmap(REAL(file), gone); }

static const sqlite3_io_methods METHODS = {
  2, x_close, x_read, x_write, x_truncate, x_sync, x_file_size, x_lock, x_unlock, x_reserved, x_control, x_sector,
  x_characteristics, x_shm_map, x_shm_lock, x_shm_barrier, x_shm_unmap, 0, 0,
};

#define BASE(vfs) ((sqlite3_vfs *)(vfs)->pAppData)

static int map_head(File *f){
  char path[PATH_MAX + 8];
  snprintf(path, sizeof path, "%s-head", f->path);
  int fd = open(path, (f->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if( fd < 0 ) return SQLITE_CANTOPEN;
  struct stat st;
  int fits = fstat(fd, &st) == 0 && st.st_size >= HEAD_SIZE;
  void *found = fits ? mmap(0, HEAD_SIZE, PROT_READ | (f->readonly ? 0 : PROT_WRITE), MAP_SHARED, fd, 0) : MAP_FAILED;
  close(fd);
  if( found == MAP_FAILED ) return SQLITE_CANTOPEN;
  f->head = found;
  return memcmp(f->head->magic, MAGIC, MAGIC_SIZE) ? SQLITE_CANTOPEN : SQLITE_OK;
}

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out){
  sqlite3_vfs *base = BASE(vfs);
  if( !(flags & SQLITE_OPEN_MAIN_DB) || !name || strlen(name) >= PATH_MAX - 32 )
    return base->xOpen(base, name, file, flags, out);
  File *f = (File *)file;
  memset(f, 0, sizeof *f);
  f->real = (sqlite3_file *)(f + 1);
  f->real->pMethods = 0;
  int given = flags, *opened = out ? out : &given;
  int rc = base->xOpen(base, name, f->real, flags, opened);
  if( rc != SQLITE_OK ) return rc;
  char magic[MAGIC_SIZE];
  if( f->real->pMethods->xRead(f->real, magic, MAGIC_SIZE, 0) != SQLITE_OK || memcmp(magic, MAGIC, MAGIC_SIZE) ){
    f->real->pMethods->xClose(f->real);
    return base->xOpen(base, name, file, flags & ~SQLITE_OPEN_EXCLUSIVE, out);
  }
  f->readonly = (*opened & SQLITE_OPEN_READONLY) != 0;
  f->path = strdup(name);
  rc = f->path ? map_head(f) : SQLITE_NOMEM;
  if( rc == SQLITE_OK ) rc = load(f);
  if( rc != SQLITE_OK ){
    x_close(file);
    file->pMethods = 0;
    return rc;
  }
  file->pMethods = &METHODS;
  return SQLITE_OK;
}

static int x_delete(sqlite3_vfs *v, const char *name, int sync){ return BASE(v)->xDelete(BASE(v), name, sync); }
static int x_access(sqlite3_vfs *v, const char *name, int flags, int *out){ return BASE(v)->xAccess(BASE(v), name, flags, out); }
static int x_full(sqlite3_vfs *v, const char *name, int n, char *out){ return BASE(v)->xFullPathname(BASE(v), name, n, out); }
static void *x_dlopen(sqlite3_vfs *v, const char *name){ return BASE(v)->xDlOpen(BASE(v), name); }
static void x_dlerror(sqlite3_vfs *v, int n, char *out){ BASE(v)->xDlError(BASE(v), n, out); }
static void (*x_dlsym(sqlite3_vfs *v, void *handle, const char *name))(void){ return BASE(v)->xDlSym(BASE(v), handle, name); }
static void x_dlclose(sqlite3_vfs *v, void *handle){ BASE(v)->xDlClose(BASE(v), handle); }
static int x_randomness(sqlite3_vfs *v, int n, char *out){ return BASE(v)->xRandomness(BASE(v), n, out); }
static int x_sleep(sqlite3_vfs *v, int us){ return BASE(v)->xSleep(BASE(v), us); }
static int x_time(sqlite3_vfs *v, double *out){ return BASE(v)->xCurrentTime(BASE(v), out); }
static int x_error(sqlite3_vfs *v, int n, char *out){ return BASE(v)->xGetLastError(BASE(v), n, out); }
static int x_time64(sqlite3_vfs *v, sqlite3_int64 *out){ return BASE(v)->xCurrentTimeInt64(BASE(v), out); }

/* Also called by a program that has no other way to a SQLite library than its two functions. */
int bough_pages_register(vfs_find find, vfs_register registered){
  if( find("bough") ) return SQLITE_OK_LOAD_PERMANENTLY;
  sqlite3_vfs *base = find(0), *made = calloc(1, sizeof *made);
  if( !base || !made ) return SQLITE_NOMEM;
  made->iVersion = 2;
  made->szOsFile = (int)sizeof(File) + base->szOsFile;
  made->mxPathname = base->mxPathname;
  made->zName = "bough";
  made->pAppData = base;
  made->xOpen = x_open;
  made->xDelete = x_delete;
  made->xAccess = x_access;
  made->xFullPathname = x_full;
  made->xDlOpen = x_dlopen;
  made->xDlError = x_dlerror;
  made->xDlSym = x_dlsym;
  made->xDlClose = x_dlclose;
  made->xRandomness = x_randomness;
  made->xSleep = x_sleep;
  made->xCurrentTime = x_time;
  made->xGetLastError = x_error;
  made->xCurrentTimeInt64 = x_time64;
  int rc = registered(made, 1);
  return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

int sqlite3_boughpages_init(sqlite3 *db, char **error, sqlite3_api_routines *api){
  (void)db, (void)error;
  return bough_pages_register((vfs_find)api[VFS_FIND], (vfs_register)api[VFS_REGISTER]);
}

int sqlite3_extension_init(sqlite3 *db, char **error, sqlite3_api_routines *api){
  return sqlite3_boughpages_init(db, error, api);
}
