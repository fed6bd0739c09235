/* A network on a backend with a pass of its own, for tests of whole networks; and host copies of
 * its tensors in double, whatever their type. */
#ifndef QS_TESTS_KERNELS_NET_RIG_H
#define QS_TESTS_KERNELS_NET_RIG_H

#include "kernels/engine/engine.h"

typedef struct {
    kn_engine *engine;
    kn_net *net;
    kn_weights *weights;
    kn_pass *pass;
    int n_outputs;
} rig;

/* Takes engine and net; weights of seed 3, with gradients. Fails the test where it cannot. */
rig rig_of(kn_engine *engine, kn_net *net, kn_pass_options options);
void rig_free(rig *r);

/* Dense NHWC tensors; the copy is the caller's. */
void put_all(const kn_tensor *t, const double *x);
double *get_all(const kn_tensor *t);

#endif
