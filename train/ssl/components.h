/* A filter of predictions: connected components. */
#ifndef QS_TRAIN_SSL_COMPONENTS_H
#define QS_TRAIN_SSL_COMPONENTS_H

#include <stdint.h>

/* Of each foreground class of each image only the largest component (8 neighbours) stays; the rest
 * becomes background. Of two as large the one that begins first in row order stays. y (n,h,w). */
void ssl_largest_components(uint8_t *y, int n, int h, int w, int n_classes);

#endif
