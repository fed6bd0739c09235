/* As many threads compute at once as there are turns; of those that wait the newest goes first,
 * since what was asked for last is what the user looks at. Thread-safe. */
#ifndef QS_VIEW_TURNS_H
#define QS_VIEW_TURNS_H

#include <glib.h>

typedef struct {
    GMutex lock;
    int n_free;
    GSList *waiting; /* of waiters, the newest first */
} vw_turns;

void vw_turns_init(vw_turns *turns, int n);
void vw_turns_clear(vw_turns *turns); /* nobody waits */
void vw_turns_take(vw_turns *turns);
void vw_turns_give(vw_turns *turns);

#endif
