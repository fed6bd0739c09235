/* See turns.h. A turn that is given back goes to the newest waiter directly, so nobody who comes in
 * between can take it from under it. */
#include "view/turns.h"

#include <stdbool.h>

typedef struct {
    GCond come;
    bool has_turn;
} waiter;

void vw_turns_init(vw_turns *turns, int n)
{
    *turns = (vw_turns){.n_free = MAX(1, n)};
    g_mutex_init(&turns->lock);
}

void vw_turns_clear(vw_turns *turns)
{
    g_mutex_clear(&turns->lock);
}

void vw_turns_take(vw_turns *turns)
{
    g_mutex_lock(&turns->lock);
    if (turns->n_free > 0) {
        turns->n_free--;
    } else {
        waiter me = {.has_turn = false};
        g_cond_init(&me.come);
        turns->waiting = g_slist_prepend(turns->waiting, &me);
        while (!me.has_turn)
            g_cond_wait(&me.come, &turns->lock);
        g_cond_clear(&me.come);
    }
    g_mutex_unlock(&turns->lock);
}

void vw_turns_give(vw_turns *turns)
{
    g_mutex_lock(&turns->lock);
    if (turns->waiting) {
        waiter *newest = turns->waiting->data;
        turns->waiting = g_slist_delete_link(turns->waiting, turns->waiting);
        newest->has_turn = true;
        g_cond_signal(&newest->come);
    } else {
        turns->n_free++;
    }
    g_mutex_unlock(&turns->lock);
}
