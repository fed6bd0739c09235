/* Where the time of tiling goes: nanoseconds a stage, summed over threads.
 *
 * Every thread counts for itself, without a lock: whoever does a stage's work calls
 *     int64_t t = wsi_stages_now();  … work …  wsi_stages_add(WSI_STAGE_READ, t);
 * and whoever wants a sum takes the thread's counters before and after. A clock costs about 25 ns,
 * so stages are timed by tile, block or patch, never by row.
 *
 *   read      bytes from the file
 *   decode    bytes to pixels; with OpenSlide, which does both in one call, read and decode
 *   resample  pixels of a level to pixels of the view: reduction, cutting out, copying
 *   measure   quality numbers
 *   label     the mask's pixels
 *   encode    the store's codec
 *   write     the store: packs, syncs, index; on the calling thread */
#ifndef QS_WSI_STAGES_H
#define QS_WSI_STAGES_H

#include <stdint.h>

typedef enum {
    WSI_STAGE_READ,
    WSI_STAGE_DECODE,
    WSI_STAGE_RESAMPLE,
    WSI_STAGE_MEASURE,
    WSI_STAGE_LABEL,
    WSI_STAGE_ENCODE,
    WSI_STAGE_WRITE,
    WSI_STAGES_N
} wsi_stage;

typedef struct {
    int64_t ns[WSI_STAGES_N]; /* by wsi_stage */
} wsi_stages;

const char *wsi_stage_name(wsi_stage stage); /* "read" … "write" */
int64_t wsi_stages_now(void);                /* monotonic, ns */
/* Adds the time since `since` to this thread's counter of the stage; returns now. */
int64_t wsi_stages_add(wsi_stage stage, int64_t since);
/* Adds the time since `since` less what all stages have gained on this thread since `before`. */
void wsi_stages_add_rest(wsi_stage stage, int64_t since, const wsi_stages *before);
/* This thread's counters. Only ever rise; valid while the thread lives. */
const wsi_stages *wsi_stages_of_thread(void);
/* sum += after − before. */
void wsi_stages_sum(wsi_stages *sum, const wsi_stages *before, const wsi_stages *after);
double wsi_stage_seconds(const wsi_stages *stages, wsi_stage stage);

#endif
