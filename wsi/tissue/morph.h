/* Binary images of the tissue detector: 0/1 bytes, (h,w), in place unless said. */
#ifndef QS_WSI_MORPH_H
#define QS_WSI_MORPH_H

#include <stdint.h>

/* Majority in a size × size window (a median filter of a binary image); at the border of what is
 * there. */
void wsi_morph_majority(uint8_t *mask, int w, int h, int size);
/* Dilation, then erosion, with a size × size square: bridges gaps narrower than it. */
void wsi_morph_close(uint8_t *mask, int w, int h, int size);
/* Turns over connected parts of `value` with fewer than `area` pixels. Parts of 1 join across
 * corners, parts of 0 do not, as topology wants. Parts of 0 that touch the border are no holes and
 * stay. */
void wsi_morph_drop_small(uint8_t *mask, int w, int h, uint8_t value, int area);

#endif
