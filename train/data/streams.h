/* The named random streams of a run: a draw is a pure function of (seed, purpose, iteration, item),
 * so a resumed run needs no generator's state but the iteration. */
#ifndef QS_TRAIN_STREAMS_H
#define QS_TRAIN_STREAMS_H

/* First argument of qs_rng_stream_id. The numbers are part of what a run is: never renumber. */
enum {
    TR_STREAM_LABELLED = 101,
    TR_STREAM_UNLABELLED = 102,
    TR_STREAM_AUGMENT = 103,
    TR_STREAM_NOISE = 104,
    TR_STREAM_DROPOUT = 105,
    TR_STREAM_WEIGHTS = 106,
    TR_STREAM_HELD = 107,      /* batches of held-back rows */
    TR_STREAM_HOLD_BACK = 108, /* which rows they are */
    TR_STREAM_MIX = 109,       /* boxes of mixed images */
    TR_STREAM_STRONG = 110,    /* photometric augmentation */
    TR_STREAM_RANK = 111,      /* CEUD's order of pixels */
};

#endif
