/* Which of several ways to compute the same thing is taken: by measuring, and only if it is right.
 * Knows nothing of GPUs, so that the tests can drive it with a clock of their own. */
#ifndef QS_KERNELS_CUDA_CHOOSE_H
#define QS_KERNELS_CUDA_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

enum { KN_CANDIDATES_MAX = 17 };

/* Candidate 0 is our own and right by definition. */
typedef struct {
    int n; /* at most KN_CANDIDATES_MAX */
    void *user;
    double (*time)(void *user, int i); /* of one run, any unit; negative or NaN: it cannot run */
    bool (*right)(void *user, int i);  /* does it give what candidate 0 gives? */
} kn_choice;

/* All are timed in turn, several rounds; medians count. The fastest that is right is taken, our own
 * unless another takes less than 0.97 of its time: only those that would be taken are checked. */
int kn_choose(const kn_choice *choice);

/* Is got[i] within rel·|want[i]| + abs·(root mean square of want) for all i? NaN is not. */
bool kn_agrees(const float *got, const float *want, int64_t n, double rel, double abs);

#endif
