/* Constants and small algebra that estimation and application share. */
#ifndef QS_WSI_STAIN_PRIV_H
#define QS_WSI_STAIN_PRIV_H

#include "wsi/colour/stain.h"

#define WSI_STAIN_IO 240.0 /* transmitted light, Macenko 2009 */

/* Matrices are 9 numbers, row after row. */
extern const double wsi_rgb_to_lms[9], wsi_lms_to_lab[9];
void wsi_mat3_vec(const double *m, const double *v, double *out);
void wsi_mat3_mul(const double *a, const double *b, double *out);
bool wsi_mat3_invert(const double *m, double *out); /* false: singular */
/* pinv (2,3) of the stains' matrix (3,2): concentrations by least squares. False: one direction. */
bool wsi_stain_pinv(const wsi_stain *macenko, double pinv[2][3]);

#endif
