/* Distances between outlines: golden E18, masks with known distances, the empty rule, invariants,
 * and a brute-force oracle on random masks: erosion by the definition, every pair of points. */
#include "infer/score/metric.h"
#include "infer/score/surface.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_near(double got, double want, double tol, const char *what)
{
    if (fabs(got - want) <= tol)
        return;
    g_test_message("%s: got %.17g, want %.17g, tolerance %g", what, got, want, tol);
    g_test_fail();
}

static inf_surface *outline(const uint8_t *mask, int w, int h, int n_classes)
{
    inf_surface *s = inf_surface_create(n_classes, w, h);
    GError *error = NULL;
    for (int y = 0; y < h; y++)
        inf_surface_add_row(s, mask + (size_t)y * (size_t)w, &error);
    g_assert_no_error(error);
    return s;
}

static inf_distances distances(const uint8_t *a, const uint8_t *b, int w, int h, int cls,
                               double px_size, double tolerance)
{
    inf_surface *sa = outline(a, w, h, 3), *sb = outline(b, w, h, 3);
    inf_distances d;
    GError *error = NULL;
    g_assert_cmpint(inf_surface_memory(sa, sb), >=, 0);
    inf_surface_compare(sa, sb, cls, px_size, tolerance, &d, &error);
    g_assert_no_error(error);
    inf_surface_destroy(sa);
    inf_surface_destroy(sb);
    return d;
}

/* The figures are those of tests/golden, E18: medpy pools the directions, PyMIC takes the larger.
 */
static void test_golden_e18(void)
{
    static const uint8_t seg[25] = {0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0,
                                    0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t gt[25] = {0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1,
                                   1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    inf_surface *a = outline(seg, 5, 5, 2), *b = outline(gt, 5, 5, 2);
    g_assert_cmpuint(inf_surface_points(a, 1), ==, 5);
    g_assert_cmpuint(inf_surface_points(b, 1), ==, 7);
    inf_surface_destroy(a);
    inf_surface_destroy(b);
    inf_distances d = distances(seg, gt, 5, 5, 1, 1, 0);
    check_near(d.hd95, 2.050609665440987, 1e-14, "medpy");
    check_near(d.hd95_pymic, 2.8284271247461903, 1e-15, "PyMIC");
    d = distances(seg, gt, 5, 5, 1, 0.25, 0);
    check_near(d.hd95, 2.050609665440987 / 4, 1e-14, "medpy in units");
    check_near(d.hd95_pymic, 2.8284271247461903 / 4, 1e-15, "PyMIC in units");
}

/* Two single pixels, 3 to the right and 4 down. */
static void test_points(void)
{
    uint8_t a[64] = {0}, b[64] = {0};
    a[0] = b[4 * 8 + 3] = 1;
    inf_distances d = distances(a, b, 8, 8, 1, 0.5, 2.4);
    check_near(d.hd95, 2.5, 1e-15, "hd95");
    check_near(d.hd95_pymic, 2.5, 1e-15, "hd95 of PyMIC");
    check_near(d.assd, 2.5, 1e-15, "assd");
    check_near(d.boundary_f1, 0, 0, "boundary F1 below the tolerance");
    d = distances(a, b, 8, 8, 1, 0.5, 2.5);
    check_near(d.boundary_f1, 1, 0, "boundary F1 at the tolerance");
    /* A second pixel in b right on a's: half of b's outline is 5 away, all of a's is at 0. */
    b[0] = 1;
    d = distances(a, b, 8, 8, 1, 1, 1);
    check_near(d.assd, (0 + 2.5) / 2, 1e-15, "assd of three");
    check_near(d.hd95, 5 * (0.9), 1e-12, "95 % of {0, 0, 5}");
    check_near(d.boundary_f1, 2 * 1 * 0.5 / 1.5, 1e-15, "F1 of 1 and ½");
}

static void test_empty(void)
{
    uint8_t none[12] = {0}, some[12] = {0}, all[12];
    memset(all, 1, sizeof all);
    some[5] = 1;
    inf_distances d = distances(none, none, 4, 3, 1, 2, 1);
    check_near(d.hd95 + d.hd95_pymic + d.assd, 0, 0, "absent from both");
    check_near(d.boundary_f1, 1, 0, "absent from both, F1");
    g_assert_false(d.one_empty);
    const uint8_t *pairs[2][2] = {{none, some}, {some, none}};
    for (int k = 0; k < 2; k++) {
        d = distances(pairs[k][0], pairs[k][1], 4, 3, 1, 2, 1);
        check_near(d.hd95, 10, 1e-15, "absent from one: the diagonal");
        check_near(d.hd95_pymic, 10, 1e-15, "absent from one: the diagonal");
        check_near(d.assd, 10, 1e-15, "absent from one: the diagonal");
        check_near(d.boundary_f1, 0, 0, "absent from one, F1");
        g_assert_true(d.one_empty);
    }
    /* A full picture has the border as its outline; classes that do not exist are background. */
    inf_surface *s = outline(all, 4, 3, 2);
    g_assert_cmpuint(inf_surface_points(s, 1), ==, 10);
    inf_surface_destroy(s);
    memset(all, 200, sizeof all);
    s = outline(all, 4, 3, 2);
    g_assert_cmpuint(inf_surface_points(s, 1), ==, 0);
    inf_surface_destroy(s);
}

/* ---- oracle --------------------------------------------------------------------------------- */

static bool is_class(const uint8_t *mask, int w, int h, int x, int y, int cls)
{
    return x >= 0 && y >= 0 && x < w && y < h && mask[y * w + x] == cls;
}

static size_t brute_surface(const uint8_t *mask, int w, int h, int cls, int *xy)
{
    static const int cross[5][2] = {{0, 0}, {1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    size_t n = 0;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            bool eroded = true;
            for (int k = 0; k < 5; k++)
                eroded = eroded && is_class(mask, w, h, x + cross[k][0], y + cross[k][1], cls);
            if (is_class(mask, w, h, x, y, cls) && !eroded) {
                xy[2 * n] = x;
                xy[2 * n++ + 1] = y;
            }
        }
    }
    return n;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double brute_directed(const int *a, size_t na, const int *b, size_t nb, double *out)
{
    double sum = 0;
    for (size_t i = 0; i < na; i++) {
        out[i] = INFINITY;
        for (size_t j = 0; j < nb; j++)
            out[i] = fmin(out[i], hypot(a[2 * i] - b[2 * j], a[2 * i + 1] - b[2 * j + 1]));
        sum += out[i];
    }
    return sum / (double)na;
}

static void check_against_brute(const uint8_t *a, const uint8_t *b, int w, int h, int cls)
{
    size_t room = (size_t)w * (size_t)h;
    g_autofree int *xa = g_new(int, 2 * room), *xb = g_new(int, 2 * room);
    g_autofree double *d = g_new(double, 2 * room);
    size_t na = brute_surface(a, w, h, cls, xa), nb = brute_surface(b, w, h, cls, xb), n = na + nb;
    if (na == 0 || nb == 0)
        return;
    double mean = (brute_directed(xa, na, xb, nb, d) + brute_directed(xb, nb, xa, na, d + na)) / 2;
    size_t within[2] = {0, 0};
    for (size_t i = 0; i < n; i++)
        within[i >= na] += d[i] <= 2;
    double pa = (double)within[0] / (double)na, pb = (double)within[1] / (double)nb;
    inf_distances got = distances(a, b, w, h, cls, 1, 2);
    check_near(got.assd, mean, 1e-12 * (1 + mean), "assd");
    check_near(got.boundary_f1, pa + pb > 0 ? 2 * pa * pb / (pa + pb) : 0, 1e-15, "boundary F1");
    qsort(d, na, sizeof *d, by_size);
    qsort(d + na, nb, sizeof *d, by_size);
    double pymic = fmax(d[(size_t)(0.95 * (double)na)], d[na + (size_t)(0.95 * (double)nb)]);
    check_near(got.hd95_pymic, pymic, 1e-12 * (1 + pymic), "PyMIC");
    qsort(d, n, sizeof *d, by_size);
    double at = 0.95 * (double)(n - 1), low = d[(size_t)at];
    double want = low + (at - floor(at)) * (d[MIN((size_t)at + 1, n - 1)] - low);
    check_near(got.hd95, want, 1e-12 * (1 + want), "medpy");
    /* Symmetric, and unmoved when both move: here by a border of two rows and three columns. */
    inf_distances back = distances(b, a, w, h, cls, 1, 2);
    check_near(back.hd95, got.hd95, 0, "symmetric");
    check_near(back.assd, got.assd, 1e-12 * (1 + mean), "symmetric");
    g_autofree uint8_t *ma = g_malloc0(room + 5 * room + 1000), *mb = g_malloc0(room * 6 + 1000);
    int mw = w + 3, mh = h + 2;
    for (int y = 0; y < h; y++) {
        memcpy(ma + (y + 2) * mw + 3, a + y * w, (size_t)w);
        memcpy(mb + (y + 2) * mw + 3, b + y * w, (size_t)w);
    }
    inf_distances moved = distances(ma, mb, mw, mh, cls, 1, 2);
    check_near(moved.hd95, got.hd95, 0, "moved");
    check_near(moved.hd95_pymic, got.hd95_pymic, 0, "moved");
}

/* Blobs of three classes, of every size from one pixel to many leaves of the tree. */
static void test_oracle(void)
{
    GRand *rand = g_rand_new_with_seed(5);
    static const int sizes[][2] = {{1, 1}, {1, 9}, {7, 1}, {5, 5}, {33, 17}, {64, 48}, {90, 3}};
    for (size_t k = 0; k < G_N_ELEMENTS(sizes) * 6; k++) {
        int w = sizes[k % G_N_ELEMENTS(sizes)][0], h = sizes[k % G_N_ELEMENTS(sizes)][1];
        g_autofree uint8_t *a = g_malloc0((gsize)(w * h)), *b = g_malloc0((gsize)(w * h));
        uint8_t *masks[2] = {a, b};
        for (int blob = 0; blob < 8; blob++) {
            int cx = g_rand_int_range(rand, 0, w), cy = g_rand_int_range(rand, 0, h);
            int r = g_rand_int_range(rand, 0, 3 + w / 6), c = g_rand_int_range(rand, 0, 3);
            for (int y = MAX(0, cy - r); y < MIN(h, cy + r + 1); y++)
                for (int x = MAX(0, cx - r); x < MIN(w, cx + r + 1); x++)
                    if ((x - cx) * (x - cx) + (y - cy) * (y - cy) <= r * r)
                        masks[blob % 2][y * w + x] = (uint8_t)c;
        }
        check_against_brute(a, b, w, h, 1);
        check_against_brute(a, b, w, h, 2);
    }
    g_rand_free(rand);
}

/* A ragged outline of many points: rows of noise, far from each other. */
static void test_large(void)
{
    enum { W = 3000, H = 400 };
    g_autofree uint8_t *a = g_malloc0(W * H), *b = g_malloc0(W * H);
    for (int x = 0; x < W; x++) {
        a[(x * 7919 % 40) * W + x] = 1;
        b[(300 + x * 104729 % 60) * W + x] = 1;
    }
    /* Nearest row of b is 300, of a 39; columns repeat with 40 and 60, so no column is far. */
    inf_distances d = distances(a, b, W, H, 1, 1, 1);
    g_assert_cmpfloat(d.assd, >=, 261 - 39);
    g_assert_cmpfloat(d.hd95, <=, 360);
    double sum = 0;
    for (int x = 0; x < W; x++) {
        double best = INFINITY;
        for (int q = 0; q < W; q++)
            best = fmin(best, hypot(x - q, x * 7919 % 40 - (300 + q * 104729 % 60)));
        sum += best / W;
    }
    double back = 0;
    for (int x = 0; x < W; x++) {
        double best = INFINITY;
        for (int q = 0; q < W; q++)
            best = fmin(best, hypot(x - q, 300 + x * 104729 % 60 - q * 7919 % 40));
        back += best / W;
    }
    check_near(d.assd, (sum + back) / 2, 1e-9, "assd of noise");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/surface/golden-e18", test_golden_e18);
    g_test_add_func("/surface/points", test_points);
    g_test_add_func("/surface/empty", test_empty);
    g_test_add_func("/surface/oracle", test_oracle);
    g_test_add_func("/surface/large", test_large);
    return g_test_run();
}
