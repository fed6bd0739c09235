/* A trained network as a thing: what it is, its weights, how to use it. One safetensors file whose
 * tensors load with strict=True into the authors' PyTorch U-Net, and whose __metadata__ carries
 * the specification. Errors name the file and the tensor or the metadata key. */
#ifndef QS_MODEL_MODEL_H
#define QS_MODEL_MODEL_H

#include "base/classes.h"
#include "kernels/engine/engine.h"

typedef struct {
    kn_unet_spec net;    /* of a file: KN_UNET_PLAIN or KN_UNET_MAPPED, without features */
    bool pair;           /* the model is the mean of two networks' probabilities */
    kn_unet_spec second; /* with pair */
    qs_classes classes;
    double mean[3], std[3]; /* of RGB/255, over the training patches; input = (x/255 - mean)/std */
    bool level0;            /* trained on level 0 as it is */
    double mpp;             /* of the training patches; 0 unknown */
    double mpp_tolerance;   /* a level within this share of mpp is read as it is */
    char colour[256];       /* what was done to the patches' colours (wsi/colour/colour.h); "" nothing */
    int patch_px;
    char method[16], loss[16];
    int64_t iteration;
} model_spec;

typedef struct {
    model_spec spec;
    kn_net *net;         /* owned */
    kn_weights *weights; /* owned */
    kn_net *second_net;  /* owned; NULL but in a pair */
    kn_weights *second_weights;
} model;

/* No method yet, mean 0 and std 1, mpp unknown and 2 % tolerated, colours as they are, patches of
 * 256, generic class names. */
void model_spec_init(model_spec *spec, int n_classes, int width);
/* Reads only the header. */
bool model_read_spec(const char *path, model_spec *spec, GError **error);
/* *m is overwritten; cleared on error. A file without quadslide's metadata (written by PyTorch) is
 * accepted when its names and shapes fit the U-Net: width, classes and channels are read from the
 * shapes, the rest is as model_spec_init has it. F64 tensors are rounded. A tensor that is not of
 * the network is an error, as one that is missing. */
bool model_load(model *m, const char *path, kn_engine *engine, bool trainable, GError **error);
/* Loads tensors into existing weights of the same shapes (--init). Of what output 0 does not need
 * the file may lack anything. */
bool model_load_weights(const char *path, kn_weights *weights, GError **error);
bool model_save(const char *path, const model_spec *spec, const kn_weights *weights,
                GError **error); /* atomic */
/* Writes what output 0 needs; second NULL but for a pair, whose tensors are named "second.…". */
bool model_save_pair(const char *path, const model_spec *spec, const kn_weights *weights,
                     const kn_weights *second, GError **error);
void model_clear(model *m);

/* u8 RGB (n,h,w,3) to normalised engine input. Thread-safe. */
void model_normalise(const model_spec *spec, const uint8_t *rgb, int64_t n_pixels, float *out);

#endif
