/* What the viewer serves of slides: tiles as wsi_view_read gives them, planes as the masks' own
 * pixels at every level, comparisons against counting by hand, what is not there, what is damaged,
 * and many clients at once. */
#include "tests/view/world.h"
#include "view/compare.h"
#include "view/json.h"
#include "view/open.h"
#include "view/plane.h"
#include "view/tile.h"
#include "wsi/image/jpeg_memory.h"
#include "wsi/lane/jpeg_priv.h"

#include <gio/gio.h>

#include <math.h>

static GBytes *gunzip(GBytes *bytes)
{
    g_autoptr(GConverter) z = G_CONVERTER(g_zlib_decompressor_new(G_ZLIB_COMPRESSOR_FORMAT_GZIP));
    g_autoptr(GInputStream) in = g_memory_input_stream_new_from_bytes(bytes);
    g_autoptr(GInputStream) out = g_converter_input_stream_new(in, z);
    uint8_t *plain = g_malloc(1 << 17);
    gsize n = 0;
    g_assert_true(g_input_stream_read_all(out, plain, 1 << 17, &n, NULL, NULL));
    return g_bytes_new_take(plain, n);
}

/* ---- tiles ----------------------------------------------------------------------------------- */
static void check_tile(vw_open *open, int level, int64_t x, int64_t y)
{
    const vw_level *at = &open->levels[level];
    GError *error = NULL;
    GBytes *bytes = vw_tile(open, level, x, y, &error);
    g_assert_no_error(error);
    size_t row = (size_t)at->tile_w * 3, n = row * (size_t)at->tile_h;
    g_autofree uint8_t *got = g_malloc(n), *want = g_malloc(n);
    wsi_jpeg_decoder *decoder = wsi_jpeg_decoder_create();
    gsize n_bytes;
    wsi_jpeg_bits bits = {.data = g_bytes_get_data(bytes, &n_bytes), .ycbcr = true};
    bits.n = n_bytes;
    g_assert_true(wsi_jpeg_decode(decoder, &bits, at->tile_w, at->tile_h, 1, got, row, &error));
    wsi_jpeg_decoder_destroy(decoder);
    wsi_view view;
    g_assert_true(wsi_view_init_reduced(&view, open->slide, at->downsample, &error));
    g_assert_true(wsi_view_read(&view, x * at->tile_w, y * at->tile_h, at->tile_w, at->tile_h, want,
                                row, &error));
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += abs(got[i] - want[i]);
    g_assert_cmpfloat(sum / (double)n, <, 4); /* quality 85 of a picture with hard edges */
    g_bytes_unref(bytes);
}

static void test_tiles(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(open->n_levels, >=, 3);
    g_assert_cmpint(open->levels[0].tile_w, ==, 64); /* the file's: copied */
    for (int level = 0; level < open->n_levels; level++) {
        const vw_level *at = &open->levels[level];
        int64_t n_x = (at->w + at->tile_w - 1) / at->tile_w,
                n_y = (at->h + at->tile_h - 1) / at->tile_h;
        check_tile(open, level, 0, 0);
        check_tile(open, level, n_x - 1, n_y - 1);
        g_assert_null(vw_tile(open, level, n_x, 0, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        g_clear_error(&error);
    }
    GBytes *thumb = vw_thumb(open, &error);
    g_assert_no_error(error);
    g_bytes_unref(thumb);
    vw_open_close(open);
    world_clear(&w);
}

/* A plain image has one level: what is far out comes from its overview, and is the same picture. */
static void test_no_pyramid(void)
{
    enum { SIDE_W = 4100, SIDE_H = 2500 };
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    g_autofree uint8_t *rgb = g_malloc((size_t)SIDE_W * SIDE_H * 3);
    for (int64_t y = 0; y < SIDE_H; y++)
        for (int64_t x = 0; x < SIDE_W; x++)
            memset(rgb + (y * SIDE_W + x) * 3, x < 2050 ? 40 : 220, 3);
    GBytes *jpeg = wsi_jpeg_encode(rgb, (size_t)SIDE_W * 3, SIDE_W, SIDE_H, 90, &error);
    g_assert_no_error(error);
    vw_slide *row = &g_array_index(w.shown.slides, vw_slide, 0);
    g_free(row->path);
    row->path = g_build_filename(w.dir, "plain.jpg", NULL);
    g_assert_true(g_file_set_contents(row->path, g_bytes_get_data(jpeg, NULL),
                                      (gssize)g_bytes_get_size(jpeg), NULL));
    g_bytes_unref(jpeg);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    g_assert_no_error(error);
    g_assert_null(open->overview);
    check_tile(open, open->n_levels - 1, 0, 0);
    g_assert_nonnull(open->overview);
    check_tile(open, 1, 3, 2);
    vw_open_close(open);
    world_clear(&w);
}

/* ---- planes ---------------------------------------------------------------------------------- */
/* Every pixel of every level of the truth, which has the slide's size: the label at its centre. */
static void test_planes_lie_right(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    g_autofree uint8_t *tile = g_malloc(VW_PLANE_SIDE * VW_PLANE_SIDE);
    for (int level = 0; level < open->n_plane_levels; level++) {
        double step = ldexp(1, level);
        for (int64_t ty = 0; (double)ty * VW_TILE_PX * step < WORLD_H; ty++)
            for (int64_t tx = 0; (double)tx * VW_TILE_PX * step < WORLD_W; tx++) {
                g_assert_true(vw_plane_tile(open, VW_PLANE_TRUTH, 0, level, tx, ty, tile, &error));
                for (int i = 0; i < VW_PLANE_SIDE * VW_PLANE_SIDE; i++) {
                    int64_t px = tx * VW_TILE_PX - 1 + i % VW_PLANE_SIDE;
                    int64_t py = ty * VW_TILE_PX - 1 + i / VW_PLANE_SIDE;
                    int64_t x = (int64_t)floor(((double)px + 0.5) * step);
                    int64_t y = (int64_t)floor(((double)py + 0.5) * step);
                    bool outside = px < 0 || py < 0 || (double)px * step >= WORLD_W ||
                                   (double)py * step >= WORLD_H;
                    uint8_t want =
                        outside ? 255 : world_truth(MIN(x, WORLD_W - 1), MIN(y, WORLD_H - 1));
                    g_assert_cmpuint(tile[i], ==, want);
                }
            }
    }
    vw_open_close(open);
    world_clear(&w);
}

/* The prediction is half the slide: its file's own pyramid must not shift it. (A pixel that sticks
 * out of the slide takes its neighbour's value: levels of the file are rounded down.) */
static void test_prediction_lies_right(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    for (int level = 0; level < open->n_plane_levels; level++) {
        int64_t step = 1 << level;
        for (int64_t y = 0; (y + 1) * step <= WORLD_H; y += 3)
            for (int64_t x = 0; (x + 1) * step <= WORLD_W; x += 5) {
                uint8_t got;
                g_assert_true(
                    vw_plane_read(open, VW_PLANE_LABEL, 0, level, x, y, 1, 1, &got, &error));
                /* Nearest reduction: a pixel of a level is one of the file's under it. */
                bool found = false;
                for (int64_t v = y * step / 2; v <= ((y + 1) * step - 1) / 2 && !found; v++)
                    for (int64_t u = x * step / 2; u <= ((x + 1) * step - 1) / 2 && !found; u++)
                        found =
                            world_pred(MIN(u, WORLD_PRED_W - 1), MIN(v, WORLD_PRED_H - 1)) == got;
                g_assert_true(found);
            }
    }
    vw_open_close(open);
    world_clear(&w);
}

/* ---- comparisons ----------------------------------------------------------------------------- */
static uint8_t by_hand(int level, int64_t px, int64_t py)
{
    int64_t step = 1 << level, found = 0, wrong = 0, missed = 0, n = 0;
    int64_t x0 = px * step / 2, y0 = py * step / 2;
    int64_t x1 = step < 2 ? x0 + 1 : (px + 1) * step / 2,
            y1 = step < 2 ? y0 + 1 : (py + 1) * step / 2;
    x0 = MIN(x0, WORLD_PRED_W - 1);
    y0 = MIN(y0, WORLD_PRED_H - 1);
    x1 = CLAMP(x1, x0 + 1, WORLD_PRED_W);
    y1 = CLAMP(y1, y0 + 1, WORLD_PRED_H);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) {
            uint8_t p = world_pred(x, y), t = world_truth(2 * x + 1, 2 * y + 1);
            n++;
            if (t == QS_CLASS_IGNORE)
                continue;
            found += p && p == t;
            wrong += p && p != t;
            missed += t && p != t;
        }
    return (uint8_t)(((found * 3 + n - 1) / n) | ((wrong * 7 + n - 1) / n) << 2 |
                     ((missed * 7 + n - 1) / n) << 5);
}

static void test_errors(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    for (int level = 0; level < 5; level++) { /* the last one is 8 of the prediction's pixels */
        int64_t step = 1 << level, width = (WORLD_W + step - 1) / step,
                height = (WORLD_H + step - 1) / step;
        g_autofree uint8_t *got = g_malloc((size_t)(width * height));
        g_assert_true(vw_plane_read(open, VW_PLANE_ERROR, 0, level, 0, 0, (int)width, (int)height,
                                    got, &error));
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                if (got[y * width + x] != by_hand(level, x, y))
                    g_error("level %d, %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT ": %02x, not %02x",
                            level, x, y, got[y * width + x], by_hand(level, x, y));
    }
    vw_open_close(open);
    world_clear(&w);
}

/* Blocks are sums of the pixels, and through them nothing small vanishes either. */
static void test_blocks(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 1);
    vw_open *open = vw_open_slide(&w.shown, 0, &error);
    vw_layer *layer = vw_open_layer(open, VW_PLANE_ERROR, 0, &error);
    g_assert_no_error(error);
    const vw_blocks *b = &layer->blocks;
    g_assert_cmpint(b->w, ==, (WORLD_PRED_W + 31) / 32);
    for (int64_t by = 0; by < b->h; by++)
        for (int64_t bx = 0; bx < b->w; bx++) {
            int found = 0, wrong = 0, missed = 0;
            for (int64_t y = by * 32; y < MIN((by + 1) * 32, WORLD_PRED_H); y++)
                for (int64_t x = bx * 32; x < MIN((bx + 1) * 32, WORLD_PRED_W); x++) {
                    uint8_t p = world_pred(x, y), t = world_truth(2 * x + 1, 2 * y + 1);
                    found += t != 255 && p && p == t;
                    wrong += t != 255 && p && p != t;
                    missed += t != 255 && t && p != t;
                }
            const vw_cell *c = &b->cells[by * b->w + bx];
            g_assert_cmpint(c->found, ==, found);
            g_assert_cmpint(c->false_, ==, wrong);
            g_assert_cmpint(c->missed, ==, missed);
        }
    vw_layer *pred = vw_open_layer(open, VW_PLANE_LABEL, 0, &error);
    vw_layer *truth = vw_open_layer(open, VW_PLANE_TRUTH, 0, &error);
    uint8_t got[16 * 11];
    g_assert_true(
        vw_compare_read(&pred->labels, &truth->labels, b, 64, 0, 0, 16, 11, got, 16, &error));
    for (int y = 0; y < 11; y++)
        for (int x = 0; x < 16; x++) {
            const vw_cell *c = &b->cells[MIN(y, b->h - 1) * b->w + MIN(x, b->w - 1)];
            g_assert_true((c->false_ > 0) == ((got[16 * y + x] >> 2 & 7) > 0));
            g_assert_true((c->missed > 0) == (got[16 * y + x] >> 5 > 0));
        }
    for (int64_t f = 0; f <= 40; f++) /* 255 is outside, and no shares may give it */
        for (int64_t m = 0; m <= 40; m++)
            for (int64_t g = 0; g + MAX(f, m) <= 40; g++)
                g_assert_cmpuint(vw_cell_byte(g, f, m, 40), !=, 255);
    vw_open_close(open);
    world_clear(&w);
}

/* ---- answers --------------------------------------------------------------------------------- */
static void expect(world *w, const char *rest, unsigned status)
{
    vw_answer answer = world_get(w, rest);
    if (answer.status != status)
        g_error("%s: %u, not %u", rest, answer.status, status);
    vw_answer_clear(&answer);
}

static void test_answers(void)
{
    world w;
    world_init(&w, 2);
    const char *good[] = {"",
                          "web/app.js",
                          "web/ol.js",
                          "web/LICENSES.txt",
                          "api/shown",
                          "api/slides/1",
                          "api/slides/0/at?x=400&y=300",
                          "thumb/0",
                          "tile/1/0/2/2",
                          "plane/0/truth/0/0/1/1",
                          "plane/0/tissue/0/0/0/0",
                          "plane/1/diff/1/0/0/0"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        expect(&w, good[i], 200);
    const char *absent[] = {"web/none.js",
                            "web/web.gresource.xml",
                            "api/slides/2",
                            "thumb/9",
                            "tile/0/99/0/0",
                            "tile/0/0/99/0",
                            "plane/0/truth/0/0/9/0",
                            "plane/0/truth/0/31/0/0",
                            "plane/0/truth/0/999999999/0/0",
                            "plane/0/prob/0/0/0/0",
                            "plane/0/label/2/0/0/0",
                            "plane/0/label/999999999/0/0/0",
                            "plane/0/diff/0/0/0/0",
                            "plane/0/cells/0/0/0/0"};
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        expect(&w, absent[i], 404);
    vw_answer answer = world_get(&w, "plane/0/label/0/0/0/0");
    g_assert_true(answer.gzip && answer.keep);
    GBytes *plain = gunzip(answer.body);
    g_assert_cmpuint(g_bytes_get_size(plain), ==, VW_PLANE_SIDE * VW_PLANE_SIDE);
    g_bytes_unref(plain);
    vw_answer_clear(&answer);
    world_clear(&w);
}

/* A slide that is gone, a prediction of another size, and one that is no file: each said, the
 * others go on. */
static void test_bad_files(void)
{
    world w;
    world_init(&w, 2);
    vw_slide *gone = &g_array_index(w.shown.slides, vw_slide, 1);
    g_free(gone->path);
    gone->path = g_build_filename(w.dir, "gone.tif", NULL);
    expect(&w, "tile/1/0/0/0", 422);
    expect(&w, "api/slides/1", 422);
    expect(&w, "tile/0/0/0/0", 200);
    g_free(world_file(&w, "pred0/s0.tif", 300, 300, world_pred));
    vw_answer answer = world_get(&w, "plane/0/label/0/0/0/0");
    g_assert_cmpuint(answer.status, ==, 422);
    g_autofree char *text =
        g_strndup(g_bytes_get_data(answer.body, NULL), g_bytes_get_size(answer.body));
    g_assert_nonnull(strstr(text, "300 x 300"));
    vw_answer_clear(&answer);
    expect(&w, "plane/0/error/0/0/0/0", 422);
    expect(&w, "plane/0/label/1/0/0/0", 200);
    expect(&w, "plane/0/truth/0/0/0/0", 200);
    expect(&w, "api/slides/0/at?x=5&y=5", 200);
    world_clear(&w);
}

/* ---- many clients ---------------------------------------------------------------------------- */
enum { CLIENTS = 32, ASKED = 8 };

typedef struct {
    world *w;
    int number, n_bad;
} client;

static gpointer ask(gpointer user)
{
    client *c = user;
    for (int i = 0; i < ASKED; i++) {
        g_autofree char *rest = NULL;
        int slide = (c->number + i) % 12, k = i % 4;
        if (k == 0)
            rest = g_strdup_printf("tile/%d/%d/%d/0", slide, i % 2, (c->number + i) % 5);
        else if (k == 1)
            rest = g_strdup_printf("plane/%d/error/%d/%d/0/0", slide, c->number % 2, i % 3);
        else if (k == 2)
            rest = g_strdup_printf("api/slides/%d/at?x=%d&y=%d", slide, 10 * i, 7 * i);
        else
            rest = g_strdup_printf("thumb/%d", slide);
        vw_answer answer = world_get(c->w, rest);
        c->n_bad += answer.status != 200;
        vw_answer_clear(&answer);
    }
    return NULL;
}

static void test_many_clients(void)
{
    world w;
    world_init(&w, 12); /* more than may be open */
    client clients[CLIENTS];
    GThread *threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){&w, i, 0};
        threads[i] = g_thread_new("client", ask, &clients[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpint(clients[i].n_bad, ==, 0);
    }
    world_clear(&w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/tiles", test_tiles);
    g_test_add_func("/view/no_pyramid", test_no_pyramid);
    g_test_add_func("/view/planes", test_planes_lie_right);
    g_test_add_func("/view/prediction", test_prediction_lies_right);
    g_test_add_func("/view/errors", test_errors);
    g_test_add_func("/view/blocks", test_blocks);
    g_test_add_func("/view/answers", test_answers);
    g_test_add_func("/view/bad_files", test_bad_files);
    g_test_add_func("/view/many_clients", test_many_clients);
    return g_test_run();
}
