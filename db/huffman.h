/* Bytes to a zstd frame that holds Huffman codes and no matches; see huffman.c. */
#ifndef QS_DB_HUFFMAN_H
#define QS_DB_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

/* Room that db_huffman_frame wants for n bytes in parts of `part`; more than it will return. */
size_t db_huffman_bound(size_t n, size_t part);

/* src (n) → a zstd frame at dst, which has db_huffman_bound bytes; returns its length, never over
 * ZSTD_compressBound(n). Every `part` bytes (the last may be fewer) have codes of their own.
 * Returns 0 where these bytes are better left to libzstd: too few, or so alike that matches pay. */
size_t db_huffman_frame(const uint8_t *src, size_t n, size_t part, uint8_t *dst);
/* The same bytes by any processor's instructions: what the other is tested against. */
size_t db_huffman_frame_plain(const uint8_t *src, size_t n, size_t part, uint8_t *dst);

/* ---- what huffman.c asks of huffman_code.c ----------------------------------------------------
 */
enum { DB_CODE_BITS = 11 }; /* of a symbol, at most: RFC 8878, 4.2.1 */

/* How often each symbol is seen (65,535 at most, two or more not 0) → bits of its code, 0 for none.
 * A complete prefix code: the sum of 2^-bits is 1. */
void db_code_lengths(const uint32_t count[256], uint8_t bits[256]);
/* The code itself, in zstd's order: low 6 bits the length, the code in the top ones. */
void db_code_table(const uint8_t bits[256], uint64_t table[256]);
/* Huffman_Tree_Description (RFC 8878, 4.2.1) at dst, 128 bytes at most; returns its length, 0 when
 * the code has no description (more than 129 symbols of one length). */
size_t db_code_describe(const uint8_t bits[256], uint8_t *dst);

#endif
