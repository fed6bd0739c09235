/* What the GPU can do, for a roofline: peak.cu's chains, and copies within its memory larger than
 * its caches. The tensor cores are driven by mma.sync, as our own convolutions drive them. */
#include "kernels/cuda/cuda_priv.h"

enum {
    ROUNDS = 5,
    BLOCKS_EACH = 8, /* of a multiprocessor */
    TURNS = 4096,
    EMULATED_TURNS = 4,
    COPY_MIB_EACH = 2, /* 264 MiB on an H100, whose cache has 50 */
};

static bool measure_flop(kn_engine *engine, double *flop_s, GError **error)
{
    kn_device *device = kn_cuda_of(engine)->device;
    const kn_device_info *info = kn_device_get_info(device);
    int blocks = BLOCKS_EACH * info->n_multiprocessors, tensor_cores = engine->act == KN_BF16;
    int turns = info->emulated ? EMULATED_TURNS : TURNS;
    kn_block out = {0};
    double best = 0;
    if (!kn_engine_alloc(engine, &out, kn_cu_peak_bytes(blocks), "measuring arithmetic", error))
        return false;
    for (int r = 0; r < ROUNDS; r++) {
        kn_device_timer_start(device);
        double flop = kn_cu_peak(device, out.data, blocks, turns, tensor_cores);
        double ms = kn_device_timer_stop(device);
        best = MAX(best, flop / (1e-3 * MAX(ms, 1e-6)));
    }
    kn_engine_free(engine, &out);
    *flop_s = best;
    return kn_device_check(device, error);
}

static bool measure_bytes(kn_engine *engine, double *byte_s, GError **error)
{
    kn_device *device = kn_cuda_of(engine)->device;
    size_t bytes = (size_t)kn_device_get_info(device)->n_multiprocessors * COPY_MIB_EACH << 20;
    kn_block memory = {0};
    double best = 0;
    if (!kn_engine_alloc(engine, &memory, 2 * bytes, "measuring the memory's rate", error))
        return false;
    for (int r = 0; r < ROUNDS; r++) {
        kn_device_timer_start(device);
        kn_device_copy(device, (char *)memory.data + bytes, memory.data, bytes);
        double ms = kn_device_timer_stop(device);
        best = MAX(best, 2.0 * (double)bytes / (1e-3 * MAX(ms, 1e-6)));
    }
    kn_engine_free(engine, &memory);
    *byte_s = best;
    return kn_device_check(device, error);
}

bool kn_cuda_peak(kn_engine *engine, double *flop_s, double *byte_s, GError **error)
{
    return measure_flop(engine, flop_s, error) && measure_bytes(engine, byte_s, error);
}
