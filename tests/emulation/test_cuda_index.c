/* The index arithmetic of the CUDA kernels (kernels/cuda/index.h), proved over whole ranges on the
 * CPU: what a kernel's threads write they write once, and what they read is there. */
#include "kernels/engine/bf16.h"
#include "kernels/cuda/index.h"

#include <glib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A tile holds whole mask chunks, at least one, and no more than a block keeps bits for. */
static void test_norm_tile(void)
{
    for (int c = 1; c <= 1024; c++) {
        int tile = kn_norm_tile(c);
        g_assert_cmpint(tile, >=, 1);
        g_assert_cmpint((int64_t)tile * c % 128, ==, 0);
        for (int v = 1; v <= 8; v *= 2)
            if (c % v == 0)
                g_assert_cmpint((int64_t)tile * c, <=, KN_CU_TILE_MAX / v);
    }
}

/* Lanes and groups cover every channel once; rows fill the block as far as lanes allow. */
static void test_norm_shape(void)
{
    static const int vecs[] = {1, 4, 8};
    for (size_t v = 0; v < G_N_ELEMENTS(vecs); v++)
        for (int c = vecs[v]; c <= 1024; c += vecs[v]) {
            kn_norm_shape s = kn_norm_shape_of(c, vecs[v]);
            int seen[1024] = {0};
            g_assert_cmpint(s.lanes * s.rows, <=, KN_CU_BLOCK);
            g_assert_cmpint(s.lanes * (s.rows + 1), >, KN_CU_BLOCK);
            for (int g = 0; g < s.groups; g++)
                for (int l = 0; l < s.lanes; l++)
                    for (int i = 0, c0 = (g * s.lanes + l) * vecs[v]; i < vecs[v] && c0 < c; i++)
                        seen[c0 + i]++;
            for (int i = 0; i < c; i++)
                g_assert_cmpint(seen[i], ==, 1);
        }
}

/* Against the definition in doubles; the gather's window holds every output that takes a share, and
 * every output's shares add up to 1. */
static void test_upsample(void)
{
    for (int size = 1; size <= 300; size++) {
        g_autofree double *taken = g_new0(double, 2 * size);
        for (int o = 0; o < 2 * size; o++) {
            int i;
            float t;
            double at = (double)o * (size - 1) / (2.0 * size - 1);
            kn_up_position(o, size, &i, &t);
            g_assert_cmpint(i, >=, 0);
            g_assert_cmpint(i, <, size);
            g_assert_cmpfloat_with_epsilon(i + (double)t, at, 1e-5);
            g_assert_true(i + 1 < size || t == 0);
            for (int in = 0; in < size; in++) {
                double want = in == i ? 1 - (double)t : in == i + 1 ? (double)t : 0;
                bool reached = o >= kn_up_first(in) && o < kn_up_first(in) + KN_UP_REACH;
                g_assert_cmpfloat_with_epsilon((double)kn_up_weight(o, in, size), want, 1e-6);
                g_assert_true(want == 0 || reached);
                taken[o] += (double)kn_up_weight(o, in, size);
            }
        }
        for (int o = 0; o < 2 * size; o++)
            g_assert_cmpfloat_with_epsilon(taken[o], 1, 1e-6);
        g_assert_cmpfloat(kn_up_weight(-1, 0, size), ==, 0);
        g_assert_cmpfloat(kn_up_weight(2 * size, size - 1, size), ==, 0);
    }
}

/* The tiles of a convolution cover every output of the batch once. */
static void test_conv_tiles(void)
{
    for (int h = 1; h <= 35; h += 3)
        for (int w = 1; w <= 49; w++)
            for (int n = 1; n <= 3; n++) {
                g_autofree uint8_t *seen = g_malloc0((gsize)(n * h * w));
                kn_conv_tiles t = kn_conv_tiles_of(n, h, w);
                for (int64_t tile = 0; tile < t.tiles; tile++) {
                    int in, y0, x0;
                    kn_conv_tile_at(&t, tile, &in, &y0, &x0);
                    for (int y = y0; y < MIN(y0 + KN_CONV_TH, h); y++)
                        for (int x = x0; x < MIN(x0 + KN_CONV_TW, w); x++)
                            seen[(in * h + y) * w + x]++;
                }
                for (int i = 0; i < n * h * w; i++)
                    g_assert_cmpint(seen[i], ==, 1);
            }
}

/* Each fragment of the tensor core's instruction covers its matrix once. */
static void test_fragments(void)
{
    int a[16][16] = {{0}}, b[16][8] = {{0}}, c[16][8] = {{0}};
    for (int lane = 0; lane < 32; lane++) {
        int row, col;
        for (int r = 0; r < 4; r++) {
            kn_mma_a_at(lane, r, &row, &col);
            a[row][col]++;
            a[row][col + 1]++;
            kn_mma_c_at(lane, r, &row, &col);
            c[row][col]++;
        }
        for (int r = 0; r < 2; r++) {
            kn_mma_b_at(lane, r, &row, &col);
            b[row][col]++;
            b[row + 1][col]++;
        }
    }
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            g_assert_cmpint(a[i][j], ==, 1);
            g_assert_true(j >= 8 || (b[i][j] == 1 && c[i][j] == 1));
        }
}

/* Eight pixels side by side, wherever they begin, lie in 32 banks; and no two eights of channels
 * share a place. */
static void test_banks(void)
{
    enum { H = 10, W = 18 };
    for (int chunks = 2; chunks <= 4; chunks *= 2) {
        uint8_t seen[H * W * 4] = {0};
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < chunks; c++) {
                    uint32_t banks = 0;
                    for (int k = 0; k < 8; k++)
                        banks |= 0xfu << kn_chunk_at(y, x + k, W, c, chunks) / 2 % 32;
                    g_assert_cmpuint(banks, ==, UINT32_MAX);
                    g_assert_cmpint(seen[kn_chunk_at(y, x, W, c, chunks) / 8]++, ==, 0);
                }
    }
}

/* No two weights share a place, and all lie within the packed copy. */
static void test_packed(void)
{
    static const int shapes[][3] = {{3, 16, 9}, {16, 2, 9}, {33, 7, 9}, {64, 32, 1}, {5, 40, 1}};
    for (size_t s = 0; s < G_N_ELEMENTS(shapes); s++) {
        int ic = shapes[s][0], oc = shapes[s][1], taps = shapes[s][2], ocp = (oc + 7) / 8 * 8;
        int64_t n = kn_conv_packed_n(ocp, taps, ic);
        g_autofree uint8_t *seen = g_malloc0((gsize)n);
        for (int o = 0; o < oc; o++)
            for (int c = 0; c < ic; c++)
                for (int t = 0; t < taps; t++) {
                    int64_t at = kn_conv_packed_at(ocp, taps, o, c, t);
                    g_assert_true(at >= 0 && at < n && !seen[at]);
                    seen[at] = 1;
                }
    }
}

/* Every weight is met once, where its own indices say. */
static void test_ohwi(void)
{
    static const int shapes[][3] = {{1, 1, 1}, {8, 16, 9}, {24, 8, 1}, {3, 5, 9}}; /* ic oc taps */
    for (size_t s = 0; s < G_N_ELEMENTS(shapes); s++) {
        int ic = shapes[s][0], oc = shapes[s][1], taps = shapes[s][2];
        for (int o = 0; o < oc; o++)
            for (int t = 0; t < taps; t++)
                for (int c = 0; c < ic; c++)
                    g_assert_cmpint(kn_oihw_of_ohwi(((int64_t)o * taps + t) * ic + c, ic, taps), ==,
                                    ((int64_t)o * ic + c) * taps + t);
    }
}

static void test_grid(void)
{
    g_assert_cmpint(kn_grid(0, 256, 10), ==, 1);
    g_assert_cmpint(kn_grid(256, 256, 10), ==, 1);
    g_assert_cmpint(kn_grid(257, 256, 10), ==, 2);
    g_assert_cmpint(kn_grid(INT64_MAX / 2, 256, 10), ==, 10);
}

/* All 65,536 values survive the way to f32 and back; rounding is to the nearest, ties to even. */
static void test_bf16(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        kn_bf16 x = {(uint16_t)bits};
        float f = kn_bf16_to_f32(x);
        g_assert_true(isnan(f) ? isnan(kn_bf16_to_f32(kn_bf16_from_f32(f)))
                               : kn_bf16_from_f32(f).bits == bits);
        if (!isfinite(f) || bits % 0x8000 == 0x7f7f)
            continue;
        float next = kn_bf16_to_f32((kn_bf16){(uint16_t)(bits + 1)}), half = f + (next - f) / 2;
        uint32_t even = bits % 2 ? bits + 1 : bits;
        g_assert_cmpuint(kn_bf16_from_f32(half).bits, ==, even);
        g_assert_cmpuint(kn_bf16_from_f32(nextafterf(half, f)).bits, ==, bits);
        g_assert_cmpuint(kn_bf16_from_f32(nextafterf(half, next)).bits, ==, bits + 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cuda-index/norm-tile", test_norm_tile);
    g_test_add_func("/cuda-index/norm-shape", test_norm_shape);
    g_test_add_func("/cuda-index/upsample", test_upsample);
    g_test_add_func("/cuda-index/conv-tiles", test_conv_tiles);
    g_test_add_func("/cuda-index/fragments", test_fragments);
    g_test_add_func("/cuda-index/banks", test_banks);
    g_test_add_func("/cuda-index/packed", test_packed);
    g_test_add_func("/cuda-index/ohwi", test_ohwi);
    g_test_add_func("/cuda-index/grid", test_grid);
    g_test_add_func("/cuda-index/bf16", test_bf16);
    return g_test_run();
}
