/* A batch where the engine computes, when that is a device: patches as bytes, what is to be done to
 * each, and where the results lie. The host draws all that is random and makes all tables; a small
 * block per image goes to the device, so results do not depend on who augments. The arithmetic of a
 * pixel is augment_pixel.h's for both.
 *
 *   patches (u8) ──weak──► weak view, label planes ──strong──► strong view ──input──► f32 or bf16
 *
 * Valid as C17 and CUDA. Pointers are the device's unless said. */
#ifndef QS_KERNELS_AUGMENT_H
#define QS_KERNELS_AUGMENT_H

#include <stdint.h>

typedef struct {
    int x0, y0, x1, y1; /* pixels x0 <= x < x1, y0 <= y < y1; empty when x1 <= x0 */
} kn_box;

/* Of one patch: geometry for image and label, padding, then stain and brightness jitter. */
typedef struct {
    int64_t item;              /* its number among the patches that lie there */
    int first, step_x, step_y; /* result (x,y) is pixel first + x·step_x + y·step_y of the patch */
    int valid_w, valid_h;      /* what lies outside of them is padding */
    int has_label;             /* 0: all its pixels are 255 */
    int jitter;                /* colour and offset are used */
    float colour[3][3];        /* row j: the three factors of density j of the result */
    float offset[3];
} kn_weak;

enum { KN_BLUR_RADIUS_MAX = 16 };

/* The strong view of one image, in this order: jitter, stain, blur, noise. */
typedef struct {
    int jitter, stain, radius, noise; /* radius 0: no blur */
    float map[3][3];                  /* of brightness … hue; row j: of channel j of the result */
    double shift;                     /* times the image's mean grey: added to each channel */
    float colour[3][3], offset[3];    /* stain, as kn_weak */
    float weights[2 * KN_BLUR_RADIUS_MAX + 1];
    float noise_scale; /* of a normal number, in grey levels */
    uint64_t noise_seed;
} kn_strong;

/* What one image of a forward is made of: `inner` in the box, `outer` elsewhere, nothing in the
 * hole. Numbers of images of the batch; outer's names the noise. */
typedef struct {
    int outer, inner;
    kn_box box, hole;
} kn_view;

/* Functions of a byte, and the way back from density to byte, as the host computes them. */
typedef struct {
    float density[256];  /* -ln((v+1)/256) */
    float limit[256];    /* limit[k], k < 255: the least density whose byte is at most k */
    float input[3][256]; /* the network's input, by channel */
} kn_image_tables;

typedef struct {
    int n, n_labelled, n_held, size;
    const uint8_t *patch_rgb, *patch_label; /* (items,h,w,3), (items,h,w) as stored */
    const kn_weak *weak;                    /* (n) */
    const kn_strong *strong;                /* (n); NULL: nobody looks at strong views */
    const kn_image_tables *tables;
    uint8_t *rgb, *strong_rgb; /* (n,h,w,3) written by weak, by strong */
    uint8_t *label;            /* (n_labelled,h,w) 255: none, ignored or padding */
    uint8_t *truth, *exclude;  /* (n-n_labelled,h,w) as label; 255 in padding, else 0 */
    float *blurred;            /* (n,h,w,3) room of strong */
    uint32_t *sums;            /* KN_GREY_PARTS·3·n room of strong */
} kn_images;

enum { KN_GREY_PARTS = 32 }; /* partial sums of an image */

/* What a loss may see of the pixels of mixed images. (n,h,w) each. */
typedef struct {
    uint8_t *label;         /* 255 where the pixel is not labelled */
    uint8_t *exclude;       /* 255 where the pixel is not unlabelled, or outside its slide */
    uint8_t *truth;         /* of labelled and unlabelled pixels, 255 where unknown */
    uint8_t *held;          /* of pixels of held-back images, 255 elsewhere */
    uint8_t *outer, *inner; /* 255 outside that part */
} kn_planes;

#endif
