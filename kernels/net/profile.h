/* Where a pass spends its time: one line a node of the network, with the work that its arithmetic
 * asks for and the seconds it took, whatever the backend. Off until a clock is given. */
#ifndef QS_KERNELS_PROFILE_H
#define QS_KERNELS_PROFILE_H

#include "kernels/engine/engine.h"

typedef enum { KN_PART_FWD, KN_PART_BWD_DATA, KN_PART_BWD_WEIGHTS, KN_N_PARTS } kn_part;
extern const char *const kn_part_names[KN_N_PARTS];

typedef struct {
    const char *name; /* module name, borrowed from the network */
    const char *op;   /* "conv3x3", "norm", "pool" …; static */
    const char *how;  /* what the backend chose for a convolution; "" for other nodes. Borrowed */
    int ic, oc, h, w; /* of the node's source and its place */
    /* A training pass's parts; a node whose backward is one pass has it in KN_PART_BWD_DATA. flop
     * counts the direct sum's multiplications and additions, also where an algorithm needs fewer;
     * bytes are each operand read or written once. 0: no such part. */
    double flop[KN_N_PARTS], bytes[KN_N_PARTS], seconds[KN_N_PARTS];
} kn_layer;

/* From now on each node is timed with `clock` (seconds); a backend that works behind the caller's
 * back must have it wait. Starts from zero. NULL: no more. */
void kn_pass_set_clock(kn_pass *pass, double (*clock)(void));
int kn_pass_n_layers(const kn_pass *pass);
/* seconds: sums since kn_pass_set_clock. Nodes that inference folds away have no part. */
kn_layer kn_pass_layer(const kn_pass *pass, int i);
/* Seconds outside any node: packing weights. */
double kn_pass_packing_seconds(const kn_pass *pass);

/* A roofline: multiplications and additions a second, bytes read or written a second. */
typedef struct {
    double flop_s, byte_s;
} kn_peak;
/* Measured by short loops on the engine's device at its precision, under a second. QS_ERROR_MEMORY;
 * QS_ERROR_UNSUPPORTED where the backend has no such loops (ref). */
bool kn_engine_peak(kn_engine *engine, kn_peak *peak, GError **error);
/* The least seconds in which a part could be done: its arithmetic or its traffic, the longer. */
double kn_peak_seconds(const kn_peak *peak, double flop, double bytes);

#endif
