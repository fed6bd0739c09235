/* The folder of a run: its lock, its files' names, what moves aside. */
#ifndef QS_TRAIN_RUNDIR_H
#define QS_TRAIN_RUNDIR_H

#include "base/file.h"

typedef struct {
    char *dir, *state, *last, *best, *metrics, *info; /* paths, owned */
    qs_file *lock;
    bool resumes; /* there is a state */
} tr_rundir;

/* Makes the folder, takes its lock (QS_ERROR_BUSY while another process trains there). fresh: a
 * folder that is there is first renamed to DIR.old-1, .old-2 … Without fresh, a folder with models
 * but no state is refused: they would be overwritten. */
bool tr_rundir_open(tr_rundir *run, const char *dir, bool fresh, GError **error);
void tr_rundir_close(tr_rundir *run);

#endif
