/* See stain.h: the transforms, exactly and from tables.
 *
 * Macenko is linear in optical density: OD' = M OD with M = reference stains · diag(strengths) ·
 * pinv(stains). The three products of a channel with its logarithm are looked up, added in units of
 * 1/4096, and the exponential of the sum is looked up: off by at most 0.0004 before rounding.
 * Reinhard is affine in ln LMS. LMS is a sum of three looked-up values in 1/64, its logarithm and
 * the exponential of the result are looked up in units of 1/4096. */
#include "wsi/colour/stain_priv.h"

#include "base/error.h"

#include <math.h>

enum {
    ONE = 4096, /* units of a logarithm */
    MACENKO_LOW = -26000,
    MACENKO_HIGH = 300, /* ln(v/240) of 0.4 … 258, in units */
    LMS_ONE = 64,
    LMS_N = 257 * LMS_ONE, /* LMS of I + 1: up to 256 */
    LAB_ONE = 1 << 14,     /* of the affine map's coefficients */
    EXP_LOW = -2 * ONE,
    EXP_HIGH = 6 * ONE + ONE / 2, /* ln LMS' of 0.13 … 665 */
};

struct wsi_stain_map {
    wsi_stain_method method;
    double m[9], offset[3];                 /* of OD, or of ln LMS */
    int32_t product[3][3][256];             /* Macenko: m[c][k] · ln((v + 1) / Io) */
    int64_t affine[3][3], affine_offset[3]; /* Reinhard, in 1/LAB_ONE */
};

/* The same for all maps. */
static uint8_t macenko_exp[MACENKO_HIGH - MACENKO_LOW + 1];
static int32_t lms_part[3][3][256], lms_ln[LMS_N + 1];
static float lms_exp[EXP_HIGH - EXP_LOW + 1];
static double lms_to_rgb[9];

static void make_tables(void)
{
    static gsize made = 0;
    if (!g_once_init_enter(&made))
        return;
    for (int i = MACENKO_LOW; i <= MACENKO_HIGH; i++) {
        double v = WSI_STAIN_IO * exp((double)i / ONE);
        macenko_exp[i - MACENKO_LOW] = (uint8_t)MIN(255, lround(v));
    }
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            for (int v = 0; v < 256; v++)
                lms_part[i][k][v] = (int32_t)lround(wsi_rgb_to_lms[3 * i + k] * (v + 1) * LMS_ONE);
    for (int i = 0; i <= LMS_N; i++)
        lms_ln[i] = (int32_t)lround(log((double)MAX(i, 1) / LMS_ONE) * ONE);
    for (int i = EXP_LOW; i <= EXP_HIGH; i++)
        lms_exp[i - EXP_LOW] = (float)exp((double)i / ONE);
    wsi_mat3_invert(wsi_rgb_to_lms, lms_to_rgb);
    g_once_init_leave(&made, 1);
}

/* ---- creation -------------------------------------------------------------------------------- */
static bool macenko_matrix(wsi_stain_map *map, const wsi_stain *from, const wsi_stain *to)
{
    double pinv[2][3];
    if (!wsi_stain_pinv(from, pinv) || !(from->v[6] > 0) || !(from->v[7] > 0))
        return false;
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 3; k++) {
            map->m[3 * c + k] = to->v[c] * to->v[6] / from->v[6] * pinv[0][k] +
                                to->v[3 + c] * to->v[7] / from->v[7] * pinv[1][k];
            for (int v = 0; v < 256; v++)
                map->product[c][k][v] =
                    (int32_t)lround(map->m[3 * c + k] * log((v + 1) / WSI_STAIN_IO) * ONE);
        }
    return true;
}

static bool reinhard_matrix(wsi_stain_map *map, const wsi_stain *from, const wsi_stain *to)
{
    double back[9], scaled[9], shift[3];
    if (!wsi_mat3_invert(wsi_lms_to_lab, back))
        return false;
    for (int i = 0; i < 3; i++) {
        if (!(from->v[3 + i] > 0))
            return false;
        double scale = to->v[3 + i] / from->v[3 + i];
        shift[i] = to->v[i] - scale * from->v[i];
        for (int j = 0; j < 3; j++)
            scaled[3 * i + j] = scale * wsi_lms_to_lab[3 * i + j];
    }
    wsi_mat3_mul(back, scaled, map->m);
    wsi_mat3_vec(back, shift, map->offset);
    for (int i = 0; i < 3; i++) {
        map->affine_offset[i] = llround(map->offset[i] * ONE * LAB_ONE);
        for (int j = 0; j < 3; j++)
            map->affine[i][j] = llround(map->m[3 * i + j] * LAB_ONE);
    }
    return true;
}

/* Beyond this a table's entry would not fit, and no two stains of tissue are that far apart. */
static bool is_sane(const wsi_stain_map *map)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            if (!(fabs(map->m[3 * i + j]) < 1000) || !(fabs(map->offset[i]) < 1e5))
                return false;
    return true;
}

wsi_stain_map *wsi_stain_map_create(const wsi_stain *from, const wsi_stain *to, GError **error)
{
    g_assert(from->method == to->method && from->method != WSI_STAIN_NONE);
    make_tables();
    wsi_stain_map *map = g_new0(wsi_stain_map, 1);
    map->method = from->method;
    bool ok = map->method == WSI_STAIN_MACENKO ? macenko_matrix(map, from, to)
                                               : reinhard_matrix(map, from, to);
    if (ok && is_sane(map))
        return map;
    g_free(map);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "stain normalisation (%s): these parameters have no inverse",
                wsi_stain_name(from->method));
    return NULL;
}

void wsi_stain_map_destroy(wsi_stain_map *map)
{
    g_free(map);
}

/* ---- applying -------------------------------------------------------------------------------- */
static void macenko_row(const wsi_stain_map *map, uint8_t *p, int w)
{
    for (int x = 0; x < w; x++, p += 3) {
        uint8_t r = p[0], g = p[1], b = p[2];
        for (int c = 0; c < 3; c++) {
            int32_t t = map->product[c][0][r] + map->product[c][1][g] + map->product[c][2][b];
            p[c] = macenko_exp[CLAMP(t, MACENKO_LOW, MACENKO_HIGH) - MACENKO_LOW];
        }
    }
}

static void reinhard_row(const wsi_stain_map *map, uint8_t *p, int w)
{
    for (int x = 0; x < w; x++, p += 3) {
        int64_t ln[3];
        double lms[3];
        for (int i = 0; i < 3; i++)
            ln[i] = lms_ln[MIN(lms_part[i][0][p[0]] + lms_part[i][1][p[1]] + lms_part[i][2][p[2]],
                               LMS_N)];
        for (int i = 0; i < 3; i++) {
            int64_t t = map->affine_offset[i] + map->affine[i][0] * ln[0] +
                        map->affine[i][1] * ln[1] + map->affine[i][2] * ln[2];
            t = (t + LAB_ONE / 2) >> 14;
            lms[i] = (double)lms_exp[CLAMP(t, EXP_LOW, EXP_HIGH) - EXP_LOW];
        }
        for (int c = 0; c < 3; c++) {
            double v = lms_to_rgb[3 * c] * lms[0] + lms_to_rgb[3 * c + 1] * lms[1] +
                       lms_to_rgb[3 * c + 2] * lms[2] - 0.5; /* − 1, and half for rounding */
            p[c] = (uint8_t)CLAMP(v, 0, 255);
        }
    }
}

void wsi_stain_map_apply(const wsi_stain_map *map, uint8_t *rgb, size_t row_bytes, int w, int h)
{
    for (int y = 0; y < h; y++) {
        uint8_t *row = rgb + (size_t)y * row_bytes;
        if (map->method == WSI_STAIN_MACENKO)
            macenko_row(map, row, w);
        else
            reinhard_row(map, row, w);
    }
}

void wsi_stain_map_exact(const wsi_stain_map *map, const uint8_t rgb[3], double out[3])
{
    double in[3], changed[3];
    if (map->method == WSI_STAIN_MACENKO) {
        for (int c = 0; c < 3; c++)
            in[c] = -log((rgb[c] + 1) / WSI_STAIN_IO);
        wsi_mat3_vec(map->m, in, changed);
        for (int c = 0; c < 3; c++)
            out[c] = WSI_STAIN_IO * exp(-changed[c]);
        return;
    }
    double lms[3];
    for (int c = 0; c < 3; c++)
        in[c] = rgb[c] + 1;
    wsi_mat3_vec(wsi_rgb_to_lms, in, lms);
    for (int c = 0; c < 3; c++)
        lms[c] = log(lms[c]);
    wsi_mat3_vec(map->m, lms, changed);
    for (int c = 0; c < 3; c++)
        lms[c] = exp(changed[c] + map->offset[c]);
    wsi_mat3_vec(lms_to_rgb, lms, out);
    for (int c = 0; c < 3; c++)
        out[c] -= 1;
}
