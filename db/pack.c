/* Reading packs: file descriptors kept open, shared by all threads, never more than a few hundred.
 *
 * A small set-associative cache: slide id → set of WAYS slots. A slot in use (users > 0) is never
 * closed; when all slots of a set are in use the file is opened for one read only. So nothing is
 * allocated, however many slides there are, and the process's limit of open files is respected.
 * Reads are pread, which moves no file position. */
#include "db/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SETS = 64, WAYS = 4 };

typedef struct {
    int64_t slide_id; /* 0: empty */
    int fd;
    int users;
    uint64_t last_use;
} pack_slot;

struct db_packs {
    char *dir;
    pthread_mutex_t lock; /* guards slots and clock; GMutex is invisible to the thread sanitizer */
    pack_slot slots[SETS][WAYS];
    uint64_t clock;
};

char *db_pack_path(const char *dir, int64_t slide_id)
{
    return g_strdup_printf("%s/packs/%06" G_GINT64_FORMAT ".pack", dir, slide_id);
}

db_packs *db_packs_create(const char *dir)
{
    db_packs *packs = g_new0(db_packs, 1);
    packs->dir = g_strdup(dir);
    pthread_mutex_init(&packs->lock, NULL);
    return packs;
}

void db_packs_destroy(db_packs *packs)
{
    if (!packs)
        return;
    for (int s = 0; s < SETS; s++)
        for (int w = 0; w < WAYS; w++)
            if (packs->slots[s][w].slide_id != 0)
                close(packs->slots[s][w].fd);
    pthread_mutex_destroy(&packs->lock);
    g_free(packs->dir);
    g_free(packs);
}

static int open_pack(const db_packs *packs, int64_t slide_id, GError **error)
{
    char path[4096];
    int n =
        snprintf(path, sizeof path, "%s/packs/%06" G_GINT64_FORMAT ".pack", packs->dir, slide_id);
    int fd = n < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        qs_set_error_errno(error, n < (int)sizeof path ? errno : ENAMETOOLONG,
                           "%s: cannot be opened", path);
    return fd;
}

/* The slot that holds the slide's pack, opened if need be; NULL when it cannot be opened (*fd < 0)
 * or all slots are in use (*fd is the caller's to close). */
static pack_slot *take(db_packs *packs, int64_t slide_id, int *fd, GError **error)
{
    pack_slot *set = packs->slots[(uint64_t)slide_id % SETS], *found = NULL, *spare = NULL;
    pthread_mutex_lock(&packs->lock);
    for (int w = 0; w < WAYS; w++) {
        if (set[w].slide_id == slide_id)
            found = &set[w];
        else if (set[w].users == 0 && (!spare || set[w].last_use < spare->last_use))
            spare = &set[w];
    }
    if (!found) {
        *fd = open_pack(packs, slide_id, error);
        if (*fd >= 0 && spare) {
            if (spare->slide_id != 0)
                close(spare->fd);
            *spare = (pack_slot){.slide_id = slide_id, .fd = *fd};
            found = spare;
        }
    }
    if (found) {
        *fd = found->fd;
        found->users++;
        found->last_use = ++packs->clock;
    }
    pthread_mutex_unlock(&packs->lock);
    return found;
}

bool db_packs_read(db_packs *packs, int64_t slide_id, int64_t offset, void *data, size_t n,
                   GError **error)
{
    int fd = -1;
    pack_slot *slot = take(packs, slide_id, &fd, error);
    if (fd < 0)
        return false;
    char *p = data;
    int64_t at = offset;
    size_t left = n;
    int err = 0;
    while (left > 0) {
        ssize_t k = pread(fd, p, left, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            err = k < 0 ? errno : 0;
            break;
        }
        p += k;
        at += k;
        left -= (size_t)k;
    }
    if (slot) {
        pthread_mutex_lock(&packs->lock);
        slot->users--;
        pthread_mutex_unlock(&packs->lock);
    } else {
        close(fd);
    }
    if (left == 0)
        return true;
    g_autofree char *path = db_pack_path(packs->dir, slide_id);
    if (err)
        qs_set_error_errno(error, err, "%s: cannot read %zu bytes at %" G_GINT64_FORMAT, path, n,
                           offset);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: ends at byte %" G_GINT64_FORMAT ", %zu bytes of a patch are missing", path,
                    at, left);
    return false;
}
