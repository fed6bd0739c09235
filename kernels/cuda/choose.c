#include "kernels/cuda/choose.h"

#include <math.h>
#include <stdlib.h>

enum { ROUNDS = 5 };
static const double MARGIN = 0.97; /* less is noise, and our own needs no library */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians; negative for one that failed in any round. */
static void measure(const kn_choice *c, double *median)
{
    double times[KN_CANDIDATES_MAX][ROUNDS];
    for (int i = 0; i < c->n; i++)
        median[i] = 0;
    for (int r = 0; r < ROUNDS; r++) /* in turn: a busy moment hits all */
        for (int i = 0; i < c->n; i++) {
            if (median[i] < 0)
                continue;
            times[i][r] = c->time(c->user, i);
            if (!(times[i][r] >= 0))
                median[i] = -1;
        }
    for (int i = 0; i < c->n; i++) {
        if (median[i] < 0)
            continue;
        qsort(times[i], ROUNDS, sizeof(double), compare);
        median[i] = times[i][ROUNDS / 2];
    }
}

int kn_choose(const kn_choice *c)
{
    double median[KN_CANDIDATES_MAX];
    measure(c, median);
    for (;;) {
        int best = 0;
        for (int i = 1; i < c->n; i++) {
            double to_beat = best ? median[best] : median[0] < 0 ? INFINITY : MARGIN * median[0];
            if (median[i] >= 0 && median[i] < to_beat)
                best = i;
        }
        if (best == 0 || c->right(c->user, best))
            return best;
        median[best] = -1;
    }
}

bool kn_agrees(const float *got, const float *want, int64_t n, double rel, double abs)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)want[i] * (double)want[i];
    double floor = abs * sqrt(squares / (double)(n > 0 ? n : 1));
    bool all = true;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        all = all && off <= rel * fabs((double)want[i]) + floor;
    }
    return all;
}
