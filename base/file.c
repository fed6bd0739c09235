#include "base/file.h"

#include "base/error.h"

#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct qs_file {
    int fd;
    char *path, *shown; /* shown: as messages say it */
};

static qs_io_hook io_hook;
static void *io_user;

void qs_io_set_hook(qs_io_hook hook, void *user)
{
    io_hook = hook;
    io_user = user;
}

static int hook(qs_io_kind kind, const char *path, const char *path2, int64_t offset,
                const void *data, size_t n)
{
    return io_hook ? io_hook(io_user, kind, path, path2, offset, data, n) : 0;
}

char *qs_file_shown(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path), *base = g_path_get_basename(path);
    char *end = base[0] == '.' ? g_strrstr(base, ".part") : NULL; /* .BASE.PID.DIGITS.part… */
    for (int i = 0; end && i < 2; i++) {
        *end = '\0';
        end = strrchr(base + 1, '.');
    }
    if (!end)
        return g_strdup(path);
    *end = '\0';
    return !strcmp(dir, ".") && path[0] != '.' ? g_strdup(base + 1)
                                               : g_build_filename(dir, base + 1, NULL);
}

qs_file *qs_file_open(const char *path, qs_file_mode mode, GError **error)
{
    int flags = O_CLOEXEC;
    if (mode == QS_FILE_READ)
        flags |= O_RDONLY;
    else
        flags |= O_RDWR | O_CREAT |
                 (mode == QS_FILE_CREATE ? O_TRUNC
                  : mode == QS_FILE_NEW  ? O_EXCL | O_NOFOLLOW
                                         : 0);
    int err = mode == QS_FILE_READ ? 0
                                   : hook(QS_IO_OPEN, path, NULL,
                                          mode == QS_FILE_CREATE || mode == QS_FILE_NEW, NULL, 0);
    int fd = err ? -1 : open(path, flags, 0666);
    if (fd < 0) {
        int why = err ? err : errno;
        g_autofree char *shown = qs_file_shown(path);
        qs_set_error_errno(error, why, "%s: cannot be opened%s", shown,
                           mode == QS_FILE_READ ? "" : " for writing");
        return NULL;
    }
    qs_file *file = g_new0(qs_file, 1);
    file->fd = fd;
    file->path = g_strdup(path);
    file->shown = qs_file_shown(path);
    return file;
}

bool qs_file_lock(qs_file *file, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
        return true;
    if (errno == EAGAIN || errno == EACCES)
        g_set_error(error, QS_ERROR, QS_ERROR_BUSY,
                    "%s: another process is writing it; wait for it or stop it", file->shown);
    else
        qs_set_error_errno(error, errno, "%s: cannot be locked", file->shown);
    return false;
}

int64_t qs_file_size(qs_file *file, GError **error)
{
    struct stat st;
    if (fstat(file->fd, &st) == 0)
        return st.st_size;
    qs_set_error_errno(error, errno, "%s: size cannot be read", file->shown);
    return -1;
}

bool qs_file_write_at(qs_file *file, int64_t offset, const void *data, size_t n, GError **error)
{
    const char *p = data;
    int err = hook(QS_IO_WRITE, file->path, NULL, offset, data, n);
    while (!err && n > 0) {
        ssize_t k = pwrite(file->fd, p, n, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            err = errno;
            break;
        }
        p += k;
        n -= (size_t)k;
        offset += k;
    }
    if (err)
        qs_set_error_errno(error, err, "%s: cannot write at byte %" G_GINT64_FORMAT, file->shown,
                           offset);
    return err == 0;
}

bool qs_file_read_at(qs_file *file, int64_t offset, void *data, size_t n, GError **error)
{
    char *p = data;
    while (n > 0) {
        ssize_t k = pread(file->fd, p, n, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            qs_set_error_errno(error, errno, "%s: cannot read at byte %" G_GINT64_FORMAT,
                               file->shown, offset);
            return false;
        }
        if (k == 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                        "%s: ends at byte %" G_GINT64_FORMAT ", %zu bytes missing", file->shown,
                        offset, n);
            return false;
        }
        p += k;
        n -= (size_t)k;
        offset += k;
    }
    return true;
}

bool qs_file_truncate(qs_file *file, int64_t size, GError **error)
{
    int err = hook(QS_IO_TRUNCATE, file->path, NULL, size, NULL, 0);
    if (!err && ftruncate(file->fd, size) != 0)
        err = errno;
    if (err)
        qs_set_error_errno(error, err, "%s: cannot be cut to %" G_GINT64_FORMAT " bytes",
                           file->shown, size);
    return err == 0;
}

bool qs_file_sync(qs_file *file, GError **error)
{
    int err = hook(QS_IO_SYNC, file->path, NULL, 0, NULL, 0);
    if (!err && fdatasync(file->fd) != 0)
        err = errno;
    if (err)
        qs_set_error_errno(error, err, "%s: cannot be synced to disk", file->shown);
    return err == 0;
}

bool qs_file_close(qs_file *file, GError **error)
{
    if (!file)
        return true;
    bool ok = close(file->fd) == 0;
    if (!ok)
        qs_set_error_errno(error, errno, "%s: error at close", file->shown);
    g_free(file->path);
    g_free(file->shown);
    g_free(file);
    return ok;
}

bool qs_dir_sync(const char *dir, GError **error)
{
    int err = hook(QS_IO_DIRSYNC, dir, NULL, 0, NULL, 0);
    int fd = err ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        qs_set_error_errno(error, err ? err : errno, "%s: folder cannot be opened", dir);
        return false;
    }
    /* Some file systems refuse fsync on a folder with EINVAL; there is nothing more to do there. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok)
        qs_set_error_errno(error, errno, "%s: folder cannot be synced", dir);
    close(fd);
    return ok;
}

bool qs_file_rename(const char *from, const char *to, GError **error)
{
    int err = hook(QS_IO_RENAME, from, to, 0, NULL, 0);
    if (!err && rename(from, to) != 0)
        err = errno;
    if (err) {
        g_autofree char *shown = qs_file_shown(from);
        if (!strcmp(shown, to))
            qs_set_error_errno(error, err, "%s: cannot be given its name", to);
        else
            qs_set_error_errno(error, err, "%s: cannot be renamed to %s", from, to);
        return false;
    }
    g_autofree char *dir = g_path_get_dirname(to);
    return qs_dir_sync(dir, error);
}

/* ---- names of one's own ---------------------------------------------------------------------- */
enum { NAME_BYTES_MAX = 180 }; /* of a base name inside a hidden one, which has at most 255 */

/* dir/.BASE, BASE cut to what leaves room for an ending. */
static char *hidden_beside(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path), *base = g_path_get_basename(path);
    g_autofree char *name = g_strdup_printf(".%.*s", NAME_BYTES_MAX, base);
    return g_build_filename(dir, name, NULL);
}

/* Parts of the same path whose process is no more. */
static void remove_orphans(const char *stem)
{
    g_autofree char *dir = g_path_get_dirname(stem), *base = g_path_get_basename(stem);
    GDir *d = g_dir_open(dir, 0, NULL);
    if (!d)
        return;
    size_t n = strlen(base);
    for (const char *name; (name = g_dir_read_name(d));) {
        if (strncmp(name, base, n) != 0 || name[n] != '.' || !g_str_has_suffix(name, ".part"))
            continue;
        gint64 pid = g_ascii_strtoll(name + n + 1, NULL, 10);
        g_autofree char *orphan = g_build_filename(dir, name, NULL);
        if (pid > 0 && pid != getpid() && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            unlink(orphan);
    }
    g_dir_close(d);
}

char *qs_file_part_name(const char *path)
{
    g_autofree char *stem = hidden_beside(path);
    remove_orphans(stem);
    return g_strdup_printf("%s.%d.%08x.part", stem, (int)getpid(), g_random_int());
}

/* The file may have been taken away between opening and locking: then its lock says nothing. */
static bool is_still_there(const qs_file *file)
{
    struct stat a, b;
    return fstat(file->fd, &a) == 0 && stat(file->path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

qs_file *qs_output_lock(const char *path, GError **error)
{
    g_autofree char *stem = hidden_beside(path);
    g_autofree char *name = g_strconcat(stem, ".lock", NULL);
    for (;;) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) {
            qs_set_error_errno(error, errno, "%s: cannot be opened for writing", name);
            return NULL;
        }
        qs_file *file = g_new0(qs_file, 1);
        file->fd = fd;
        file->path = g_strdup(name);
        file->shown = g_strdup(path);
        GError *local = NULL;
        if (!qs_file_lock(file, &local)) {
            if (g_error_matches(local, QS_ERROR, QS_ERROR_BUSY)) {
                g_set_error(error, QS_ERROR, QS_ERROR_BUSY,
                            "%s: another process is making it; wait for it or stop it", path);
                g_error_free(local);
            } else {
                g_propagate_error(error, local);
            }
            qs_file_close(file, NULL);
            return NULL;
        }
        if (is_still_there(file))
            return file;
        qs_file_close(file, NULL);
    }
}

void qs_output_unlock(qs_file *lock)
{
    if (!lock)
        return;
    unlink(
        lock->path); /* while it is held: who opens it now sees that it is gone, and opens another */
    qs_file_close(lock, NULL);
}

bool qs_file_replace(const char *path, const void *data, size_t n, GError **error)
{
    g_autofree char *temp = qs_file_part_name(path);
    qs_file *file = qs_file_open(temp, QS_FILE_NEW, error);
    if (!file)
        return false;
    bool ok = qs_file_write_at(file, 0, data, n, error) && qs_file_sync(file, error);
    ok = qs_file_close(file, ok ? error : NULL) && ok;
    ok = ok && qs_file_rename(temp, path, error);
    if (!ok)
        unlink(temp);
    return ok;
}

bool qs_dir_create(const char *dir, GError **error)
{
    if (g_mkdir_with_parents(dir, 0777) == 0)
        return true;
    qs_set_error_errno(error, errno, "%s: folder cannot be made", dir);
    return false;
}

char *qs_file_hash(const char *path, GError **error)
{
    qs_file *file = qs_file_open(path, QS_FILE_READ, error);
    if (!file)
        return NULL;
    size_t n_chunk = (size_t)1 << 20;
    char *chunk = g_malloc(n_chunk), *hex = NULL;
    XXH3_state_t *state = XXH3_createState();
    XXH3_128bits_reset(state);
    for (;;) {
        ssize_t k = read(file->fd, chunk, n_chunk);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            qs_set_error_errno(error, errno, "%s: cannot be read", path);
            goto out;
        }
        if (k == 0)
            break;
        XXH3_128bits_update(state, chunk, (size_t)k);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    hex = g_strdup_printf("%016" G_GINT64_MODIFIER "x%016" G_GINT64_MODIFIER "x",
                          (guint64)hash.high64, (guint64)hash.low64);
out:
    XXH3_freeState(state);
    g_free(chunk);
    qs_file_close(file, NULL);
    return hex;
}

int64_t qs_disk_free(const char *path)
{
    g_autofree char *at = g_strdup(path);
    struct statvfs vfs;
    while (statvfs(at, &vfs) != 0) {
        if (errno != ENOENT || !strcmp(at, "/") || !strcmp(at, "."))
            return -1;
        char *up = g_path_get_dirname(at);
        g_free(at);
        at = up;
    }
    return (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize;
}
