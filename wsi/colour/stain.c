/* See stain.h: parameters, the sample, and the estimation of both methods. */
#include "wsi/colour/stain_priv.h"

#include "base/error.h"
#include "wsi/colour/pixel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SATURATION_MIN = 8 };                                          /* tissue's, CLAM's */
static const double BETA = 0.15, ALPHA = 1, STRENGTH_PERCENTILE = 99; /* Macenko 2009 */

/* Reinhard 2001, equations (4) and (6). */
const double wsi_rgb_to_lms[9] = {0.3811, 0.5783, 0.0402, 0.1967, 0.7244,
                                  0.0782, 0.0241, 0.1288, 0.8444};
#define S3 0.57735026918962576451 /* 1/√3, 1/√6, 1/√2 */
#define S6 0.40824829046386301637
#define S2 0.70710678118654752440
const double wsi_lms_to_lab[9] = {S3, S3, S3, S6, S6, -2 * S6, S2, -S2, 0};

static const char *const names[] = {"none", "macenko", "reinhard"};

const char *wsi_stain_name(wsi_stain_method method)
{
    return names[method];
}

bool wsi_stain_parse(const char *name, wsi_stain_method *method)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (!g_ascii_strcasecmp(name, names[i])) {
            *method = (wsi_stain_method)i;
            return true;
        }
    return false;
}

int wsi_stain_n_values(wsi_stain_method method)
{
    return method == WSI_STAIN_MACENKO ? 8 : method == WSI_STAIN_REINHARD ? 6 : 0;
}

void wsi_stain_default(wsi_stain_method method, wsi_stain *stain)
{
    static const double macenko[8] = {0.5626, 0.7201, 0.4062, 0.2159,
                                      0.8012, 0.5581, 1.9705, 1.0308};
    static const double reinhard[8] = {8.74108109, -0.12440419, 0.0444982,
                                       0.6135447,  0.10989545,  0.0286032};
    *stain = (wsi_stain){.method = method};
    if (method != WSI_STAIN_NONE)
        memcpy(stain->v, method == WSI_STAIN_MACENKO ? macenko : reinhard, sizeof stain->v);
}

/* ---- small algebra --------------------------------------------------------------------------- */
void wsi_mat3_vec(const double *m, const double *v, double *out)
{
    for (int i = 0; i < 3; i++)
        out[i] = m[3 * i] * v[0] + m[3 * i + 1] * v[1] + m[3 * i + 2] * v[2];
}

void wsi_mat3_mul(const double *a, const double *b, double *out)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
}

bool wsi_mat3_invert(const double *m, double *out)
{
    double det = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int r0 = (j + 1) % 3, r1 = (j + 2) % 3, c0 = (i + 1) % 3, c1 = (i + 2) % 3;
            out[3 * i + j] = m[3 * r0 + c0] * m[3 * r1 + c1] - m[3 * r0 + c1] * m[3 * r1 + c0];
        }
    for (int j = 0; j < 3; j++)
        det += m[j] * out[3 * j];
    if (!(fabs(det) > 1e-12))
        return false;
    for (int i = 0; i < 9; i++)
        out[i] /= det;
    return true;
}

bool wsi_stain_pinv(const wsi_stain *s, double pinv[2][3])
{
    const double *h = s->v, *e = s->v + 3;
    double hh = 0, he = 0, ee = 0;
    for (int c = 0; c < 3; c++) {
        hh += h[c] * h[c];
        he += h[c] * e[c];
        ee += e[c] * e[c];
    }
    double det = hh * ee - he * he;
    if (!(det > 1e-9 * hh * ee))
        return false;
    for (int c = 0; c < 3; c++) {
        pinv[0][c] = (ee * h[c] - he * e[c]) / det;
        pinv[1][c] = (hh * e[c] - he * h[c]) / det;
    }
    return true;
}

/* Eigenvectors of a symmetric matrix in the columns of v, values in w, by Jacobi's rotations. */
static void eigen_symmetric(double a[3][3], double w[3], double v[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            v[i][j] = i == j;
    for (int sweep = 0; sweep < 64; sweep++) {
        if (fabs(a[0][1]) + fabs(a[0][2]) + fabs(a[1][2]) < 1e-300)
            break;
        for (int p = 0; p < 2; p++)
            for (int q = p + 1; q < 3; q++) {
                if (a[p][q] == 0)
                    continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < 3; k++) {
                    double kp = a[k][p], kq = a[k][q];
                    a[k][p] = c * kp - s * kq;
                    a[k][q] = s * kp + c * kq;
                }
                for (int k = 0; k < 3; k++) {
                    double pk = a[p][k], qk = a[q][k];
                    a[p][k] = c * pk - s * qk;
                    a[q][k] = s * pk + c * qk;
                }
                for (int k = 0; k < 3; k++) {
                    double kp = v[k][p], kq = v[k][q];
                    v[k][p] = c * kp - s * kq;
                    v[k][q] = s * kp + c * kq;
                }
            }
    }
    for (int i = 0; i < 3; i++)
        w[i] = a[i][i];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Linear between order statistics, as numpy's. values is sorted. */
static double percentile(const double *values, size_t n, double p)
{
    double at = p / 100 * (double)(n - 1);
    size_t low = (size_t)at, high = MIN(low + 1, n - 1);
    return values[low] + (at - (double)low) * (values[high] - values[low]);
}

/* ---- the sample ------------------------------------------------------------------------------ */
static bool is_tissue(const uint8_t *p)
{
    return wsi_saturation(p[0], p[1], p[2]) > SATURATION_MIN && !wsi_is_dark(p[0], p[1], p[2]) &&
           !wsi_is_pen(p[0], p[1], p[2]);
}

void wsi_stain_sample_add(wsi_stain_sample *sample, const uint8_t *rgb, size_t row_bytes, int w,
                          int h)
{
    size_t n_tissue = 0, k = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            n_tissue += is_tissue(rgb + (size_t)y * row_bytes + 3 * (size_t)x);
    size_t step = (n_tissue + WSI_STAIN_WINDOW_PX - 1) / WSI_STAIN_WINDOW_PX;
    size_t room = sample->n + WSI_STAIN_WINDOW_PX;
    if (n_tissue > 0 && room > sample->capacity) {
        sample->capacity = MAX(room, 2 * sample->capacity);
        sample->rgb = g_realloc(sample->rgb, sample->capacity * 3);
    }
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *p = rgb + (size_t)y * row_bytes + 3 * (size_t)x;
            if (is_tissue(p) && k++ % step == 0)
                memcpy(sample->rgb + 3 * sample->n++, p, 3);
        }
}

void wsi_stain_sample_clear(wsi_stain_sample *sample)
{
    g_free(sample->rgb);
    *sample = (wsi_stain_sample){0};
}

/* ---- Macenko --------------------------------------------------------------------------------- */
static void optical_density(const uint8_t *p, double od[3])
{
    for (int c = 0; c < 3; c++)
        od[c] = -log((p[c] + 1) / WSI_STAIN_IO);
}

static bool fail(const char *what, size_t n, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "stain normalisation: %s among %zu tissue pixels; is it an H&E slide?", what, n);
    return false;
}

/* Covariance of the optical densities that are dense enough; their number. */
static size_t covariance(const uint8_t *rgb, size_t n, double cov[3][3])
{
    double sum[3] = {0}, products[3][3] = {{0}};
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        double od[3];
        optical_density(rgb + 3 * i, od);
        if (od[0] < BETA || od[1] < BETA || od[2] < BETA)
            continue;
        m++;
        for (int a = 0; a < 3; a++) {
            sum[a] += od[a];
            for (int b = 0; b < 3; b++)
                products[a][b] += od[a] * od[b];
        }
    }
    for (int a = 0; a < 3 && m > 1; a++)
        for (int b = 0; b < 3; b++)
            cov[a][b] = (products[a][b] - sum[a] * sum[b] / (double)m) / (double)(m - 1);
    return m;
}

/* plane[0]: the eigenvector of the second largest value, plane[1]: of the largest, with a positive
 * sum, so that angles lie around π/2 and do not wrap. */
static void principal_plane(double cov[3][3], double plane[2][3])
{
    double w[3], v[3][3];
    eigen_symmetric(cov, w, v);
    int first = w[0] >= w[1] && w[0] >= w[2] ? 0 : w[1] >= w[2] ? 1 : 2, second = -1;
    for (int i = 0; i < 3; i++)
        if (i != first && (second < 0 || w[i] > w[second]))
            second = i;
    double sign = v[0][first] + v[1][first] + v[2][first] < 0 ? -1 : 1;
    for (int c = 0; c < 3; c++) {
        plane[0][c] = v[c][second];
        plane[1][c] = sign * v[c][first];
    }
}

/* The two stains, from the angles of the dense pixels in the plane. values: room for n. */
static void stain_directions(const uint8_t *rgb, size_t n, double plane[2][3], double *values,
                             wsi_stain *stain)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        double od[3], x = 0, y = 0;
        optical_density(rgb + 3 * i, od);
        if (od[0] < BETA || od[1] < BETA || od[2] < BETA)
            continue;
        for (int c = 0; c < 3; c++) {
            x += od[c] * plane[0][c];
            y += od[c] * plane[1][c];
        }
        values[m++] = atan2(y, x);
    }
    qsort(values, m, sizeof *values, by_value);
    double low = percentile(values, m, ALPHA), high = percentile(values, m, 100 - ALPHA);
    double a[3], b[3];
    for (int c = 0; c < 3; c++) {
        a[c] = plane[0][c] * cos(low) + plane[1][c] * sin(low);
        b[c] = plane[0][c] * cos(high) + plane[1][c] * sin(high);
    }
    memcpy(stain->v, a[0] > b[0] ? a : b, sizeof a);
    memcpy(stain->v + 3, a[0] > b[0] ? b : a, sizeof a);
}

static bool estimate_macenko(const uint8_t *rgb, size_t n, wsi_stain *stain, GError **error)
{
    double cov[3][3], plane[2][3], pinv[2][3];
    size_t m = covariance(rgb, n, cov);
    if (m < WSI_STAIN_PX_MIN / 2)
        return fail("too few dense ones", n, error);
    principal_plane(cov, plane);
    g_autofree double *values = g_new(double, n);
    stain_directions(rgb, n, plane, values, stain);
    if (!wsi_stain_pinv(stain, pinv))
        return fail("no two stains", n, error);
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < n; i++) {
            double od[3];
            optical_density(rgb + 3 * i, od);
            values[i] = pinv[s][0] * od[0] + pinv[s][1] * od[1] + pinv[s][2] * od[2];
        }
        qsort(values, n, sizeof *values, by_value);
        stain->v[6 + s] = percentile(values, n, STRENGTH_PERCENTILE);
        if (!(stain->v[6 + s] > 1e-3))
            return fail("one stain only", n, error);
    }
    return true;
}

/* ---- Reinhard -------------------------------------------------------------------------------- */
static bool estimate_reinhard(const uint8_t *rgb, size_t n, wsi_stain *stain, GError **error)
{
    double sum[3] = {0}, squares[3] = {0}, first[3] = {0};
    for (size_t i = 0; i < n; i++) {
        double in[3], lms[3], lab[3];
        for (int c = 0; c < 3; c++)
            in[c] = rgb[3 * i + (size_t)c] + 1;
        wsi_mat3_vec(wsi_rgb_to_lms, in, lms);
        for (int c = 0; c < 3; c++)
            lms[c] = log(lms[c]);
        wsi_mat3_vec(wsi_lms_to_lab, lms, lab);
        for (int c = 0; c < 3; c++) {
            first[c] = i ? first[c] : lab[c]; /* sums of differences lose no digits */
            sum[c] += lab[c] - first[c];
            squares[c] += (lab[c] - first[c]) * (lab[c] - first[c]);
        }
    }
    for (int c = 0; c < 3; c++) {
        double mean = sum[c] / (double)n;
        stain->v[c] = first[c] + mean;
        stain->v[3 + c] = sqrt(MAX(0, squares[c] / (double)n - mean * mean));
        if (!(stain->v[3 + c] > 1e-6))
            return fail("one colour only", n, error);
    }
    return true;
}

bool wsi_stain_estimate(wsi_stain_method method, const uint8_t *rgb, size_t n, wsi_stain *stain,
                        GError **error)
{
    *stain = (wsi_stain){.method = method};
    if (n < WSI_STAIN_PX_MIN)
        return fail("too few pixels", n, error);
    return method == WSI_STAIN_MACENKO ? estimate_macenko(rgb, n, stain, error)
                                       : estimate_reinhard(rgb, n, stain, error);
}
