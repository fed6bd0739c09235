/* Per-thread stage clocks; see stages.h. */
#include "wsi/stages.h"

#include <time.h>

static _Thread_local wsi_stages of_thread;

const char *wsi_stage_name(wsi_stage stage)
{
    static const char *const names[WSI_STAGES_N] = {"read",  "decode", "resample", "measure",
                                                    "label", "encode", "write"};
    return names[stage];
}

int64_t wsi_stages_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t wsi_stages_add(wsi_stage stage, int64_t since)
{
    int64_t now = wsi_stages_now();
    of_thread.ns[stage] += now - since;
    return now;
}

void wsi_stages_add_rest(wsi_stage stage, int64_t since, const wsi_stages *before)
{
    int64_t rest = wsi_stages_now() - since;
    for (int i = 0; i < WSI_STAGES_N; i++)
        rest -= of_thread.ns[i] - before->ns[i];
    of_thread.ns[stage] += rest > 0 ? rest : 0;
}

const wsi_stages *wsi_stages_of_thread(void)
{
    return &of_thread;
}

void wsi_stages_sum(wsi_stages *sum, const wsi_stages *before, const wsi_stages *after)
{
    for (int i = 0; i < WSI_STAGES_N; i++)
        sum->ns[i] += after->ns[i] - before->ns[i];
}

double wsi_stage_seconds(const wsi_stages *stages, wsi_stage stage)
{
    return (double)stages->ns[stage] * 1e-9;
}
