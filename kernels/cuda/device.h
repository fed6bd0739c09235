/* One GPU as the backend sees it: its memory, one stream of work, its clock. The
 * only place that knows the CUDA runtime is device.c; device_emu.c stands in for it in the tests.
 *
 * Work is put on the stream and done in order; nothing waits but what says so. An error of the GPU
 * shows up later than its cause, so it sticks: kn_device_check hands out the first one, with the
 * call or kernel after which it was seen. One thread drives a device. */
#ifndef QS_KERNELS_CUDA_DEVICE_H
#define QS_KERNELS_CUDA_DEVICE_H

#include "kernels/cuda/program.h"

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char name[128];
    int sm; /* compute capability × 10: 90 */
    int n_multiprocessors;
    bool emulated; /* by device_emu.c: no clock of its says anything */
    int64_t bytes, bytes_free;
    int runtime_version, driver_version; /* 13000 */
} kn_device_info;

/* `index` among the visible GPUs. QS_ERROR_UNSUPPORTED says what is missing: no driver, no GPU, one
 * older than sm_80. */
kn_device *kn_device_open(int index, GError **error);
void kn_device_close(kn_device *device); /* NULL accepted */
const kn_device_info *kn_device_get_info(const kn_device *device);
/* Free bytes now. */
int64_t kn_device_free_bytes(kn_device *device);

/* Zeroed; QS_ERROR_MEMORY names `what` and the bytes. 0 bytes give NULL. */
bool kn_device_alloc(kn_device *device, void **p, size_t bytes, const char *what, GError **error);
void kn_device_free(kn_device *device, void *p);
/* Host memory that the GPU reads and writes directly (pinned, mapped), zeroed. */
bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error);
void kn_device_host_free(kn_device *device, void *p);

/* On the stream. The host side of an upload may be reused when it is pageable; when it came from
 * kn_device_host_alloc, only after a wait. Defined in program.c. */
void kn_device_upload(kn_device *device, void *dst, const void *src, size_t bytes);
void kn_device_copy(kn_device *device, void *dst, const void *src, size_t bytes);
/* To memory of kn_device_host_alloc: there after a wait, or the await of a later mark. */
void kn_device_fetch(kn_device *device, void *dst, const void *src, size_t bytes);
/* fn(user) in its turn, on another thread; what it reads and writes is pinned or the host's alone.
 */
void kn_device_host(kn_device *device, kn_host_fn *fn, void *user);
void kn_device_clear(kn_device *device, void *dst, size_t bytes);
/* Waits for all before it. */
void kn_device_download(kn_device *device, void *dst, const void *src, size_t bytes);
void kn_device_wait(kn_device *device);
/* Waits, then false with the first error that stuck. */
bool kn_device_check(kn_device *device, GError **error);
/* The same of what has been seen so far; waits for nothing. */
bool kn_device_peek(kn_device *device, GError **error);
/* For what drives the stream beside our kernels (cuDNN): an error to stick. */
void kn_device_fail(kn_device *device, const char *call, const char *message);

/* A name for all that was put on the stream so far, from 1; and the wait for it alone (0: none). Of
 * KN_MARKS names the oldest waits for the newest. */
enum { KN_MARKS = 16 };
uint64_t kn_device_mark(kn_device *device);
void kn_device_await(kn_device *device, uint64_t mark);

/* Milliseconds that the stream took between the two; stop waits. */
void kn_device_timer_start(kn_device *device);
double kn_device_timer_stop(kn_device *device);

/* Where work goes on its way to the stream: kn_program_begin and end around what is done again and
 * again. */
kn_program *kn_device_program(kn_device *device);
/* Something that a library does on the stream (cuDNN), in order with the rest; data is copied. */
void kn_device_call(kn_device *device, kn_call *call, const void *data, size_t bytes);

#endif
