/* A reversible change of an RGB patch that makes it compress better; see filter.c. */
#ifndef QS_DB_FILTER_H
#define QS_DB_FILTER_H

#include <stdint.h>

/* rgb (size,size,3) u8 → planes (3,size,size) u8. Must not overlap; size <= 8192. */
void db_filter_fwd(const uint8_t *rgb, int size_px, uint8_t *planes);
/* The exact inverse. `planes` is overwritten. */
void db_filter_bwd(uint8_t *planes, int size_px, uint8_t *rgb);

#endif
