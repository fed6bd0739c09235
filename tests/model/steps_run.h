/* Twenty training steps at the level of kernels: networks, loss, SGD and EMA put together as a
 * trainer would, on batches made here, so that PyTorch can take the same steps. */
#ifndef QS_TESTS_MODEL_STEPS_RUN_H
#define QS_TESTS_MODEL_STEPS_RUN_H

#include "kernels/loss/loss.h"

enum { SR_STEPS = 20, SR_LABELLED = 4, SR_UNLABELLED = 4, SR_N = SR_LABELLED + SR_UNLABELLED };
enum { SR_H = 32, SR_W = 32, SR_PX = SR_H * SR_W };

typedef enum { SR_SL, SR_MT, SR_CPS, SR_N_METHODS } sr_method;
extern const char *const sr_method_names[SR_N_METHODS];

#define SR_GAMMA0 0.6
#define SR_GAMMA_A 0.1
#define SR_HORIZON 100.0 /* of the learning rate's decay */

/* x (SR_STEPS,SR_N,h,w,3) f32; label (SR_STEPS,SR_LABELLED,h,w), some pixels 255. Discs on noise.
 */
void sr_make_batches(float *x, uint8_t *label);
/* The losses of SR_STEPS steps from the given weights (their copies, rounded to f32, are trained).
 * second: MT's teacher or CPS's other network. Either backend. */
bool sr_run(kn_engine *engine, sr_method method, const kn_weights *first, const kn_weights *second,
            const float *x, const uint8_t *label, double lr, double losses[SR_STEPS],
            GError **error);

#endif
