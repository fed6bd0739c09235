/* Work on its way to the stream.
 *
 *   between begin and end:   op op op | op op op op … |   op …      | a cut: the host waits here
 *   a piece seen twice:      [  graph ]  [   graph    ]
 *
 * Out of a program every op goes to the stream at once. In one, ops are kept until somebody waits
 * (or the program ends), and this piece then goes out whole. A piece that has the shape of an
 * earlier one (the same kernels with the same grids, copies of the same sizes, in the same order)
 * becomes a graph, and from then on one launch does it. Whatever else differs from the last time —
 * rates, streams of random numbers, boxes, thresholds, pointers — is compared argument by argument
 * and set in the graph's nodes before the launch, so nothing can be baked in. A step whose shape
 * changes (another stage, an empty set) is another piece, and nothing need be told of it.
 *
 * Programs follow each other without a wait: one that begins waits for the end of the one before
 * the last, whose half of the room for uploads it takes over. So at most two are on their way.
 *
 * The same kernels run in the same order with and without graphs: the bits are the same.
 * QS_DISABLE=graph leaves everything out. One thread drives a device. */
#ifndef QS_KERNELS_CUDA_PROGRAM_H
#define QS_KERNELS_CUDA_PROGRAM_H

#include "kernels/cuda/launch.h"

#include <stdbool.h>

typedef enum {
    KN_OP_KERNEL,
    KN_OP_UPLOAD,
    KN_OP_COPY,
    KN_OP_FETCH, /* to pinned memory of the host */
    KN_OP_CLEAR,
    KN_OP_HOST, /* something on the host, in its turn */
    KN_OP_CALL,
} kn_op_kind;

/* Something that a library does on the stream; may be recorded, so it must not wait. */
typedef void kn_call(kn_device *device, const void *data);

/* Runs on a thread of the runtime's and may not use the device; user outlives it. */
typedef void kn_host_fn(void *user);

typedef struct {
    kn_op_kind kind;
    kn_launch launch; /* of a kernel */
    kn_call *call;
    kn_host_fn *host;
    void *dst;       /* copies, clear; of KN_OP_HOST its user */
    const void *src; /* copies; of a call its data */
    size_t bytes;
} kn_op;

/* device.c, device_emu.c: on the stream now. */
void kn_device_do(kn_device *device, const kn_op *op);

/* Ops that one launch does, in order. NULL (nothing sticks) when one of them cannot be recorded. */
typedef struct kn_graph kn_graph;
kn_graph *kn_graph_create(kn_device *device, const kn_op *ops, int n);
/* Op i, of the same shape, with other arguments; for launches from now on. */
void kn_graph_update(kn_device *device, kn_graph *graph, int i, const kn_op *op);
void kn_graph_launch(kn_device *device, kn_graph *graph);
void kn_graph_destroy(kn_graph *graph); /* NULL accepted */

typedef struct kn_program kn_program;
kn_program *kn_program_create(kn_device *device);
void kn_program_destroy(kn_program *program); /* NULL accepted */
void kn_program_begin(kn_program *program);
void kn_program_end(kn_program *program);
bool kn_program_is_open(const kn_program *program);
/* op and what it points to may go when this returns; but an upload's source that is pinned is read
 * when the stream comes to it. */
void kn_program_put(kn_program *program, const kn_op *op);
/* Hands to the stream what is kept. */
void kn_program_cut(kn_program *program);
/* Memory is about to be freed: graphs that may name it are thrown away, and made again when their
 * pieces are next seen twice. (A launch may follow what a graph named before its arguments were set
 * anew: a driver of CUDA 13.0 does.) After a wait. */
void kn_program_forget(kn_program *program);
/* The stream has been waited for: what was sent from the program's own room has arrived. */
void kn_program_waited(kn_program *program);
/* Pinned blocks, added and taken away by device.c; is p in one? */
void kn_program_add_pinned(kn_program *program, const void *p, size_t bytes);
void kn_program_remove_pinned(kn_program *program, const void *p);
bool kn_program_is_pinned(const kn_program *program, const void *p);

#endif
