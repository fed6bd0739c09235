/* Colours: transparent pixels, ICC profiles, stain normalisation. The stains' oracle is numpy
 * (stain_oracle.py) and pictures painted with known stains; the profile's, its own formula. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "base/rng.h"
#include "wsi/colour/colour.h"
#include "wsi/image/picture.h"

#include <lcms2.h>

/* ---- transparent pixels ---------------------------------------------------------------------- */
static bool is_second(int64_t tile_x, int64_t tile_y)
{
    return tile_x == 1 && tile_y == 0;
}

static void grey(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, x < 64 ? 60 : 130, 3);
    rgb[0] = (uint8_t)(rgb[0] + 0 * y);
}

static void check_hole(const char *name, const make_tiff_options *o, const uint8_t background[3])
{
    g_autofree char *path = temp_path(name);
    make_tiff(path, o);
    for (int reader = 0; reader < 2; reader++) {
        GError *error = NULL;
        wsi_slide *slide =
            wsi_slide_open_by(path, 0, reader ? WSI_READER_OPENSLIDE : WSI_READER_AUTO, &error);
        g_assert_no_error(error);
        g_assert_cmpmem(wsi_slide_get_info(slide)->background, 3, background, 3);
        uint8_t rgb[192 * 64 * 3];
        wsi_slide_read(slide, 0, 0, 0, 192, 64, rgb, 192 * 3, &error);
        g_assert_no_error(error);
        for (int y = 0; y < 64; y++)
            for (int x = 0; x < 192; x++) {
                uint8_t want[3];
                if (x >= 64 && x < 128)
                    memcpy(want, background, 3);
                else
                    o->pixel(x, y, want);
                const uint8_t *got = rgb + (y * 192 + x) * 3;
                if (ABS(got[0] - want[0]) > 1 || ABS(got[1] - want[1]) > 1 ||
                    ABS(got[2] - want[2]) > 1) /* JPEG */
                    g_error("%s reader %d at %d,%d: %d,%d,%d", name, reader, x, y, got[0], got[1],
                            got[2]);
            }
        wsi_slide_close(slide);
    }
}

/* A tile that is not in the file is transparent; it lies on white, or on what the file says. */
static void test_sparse(void)
{
    static const uint8_t white[3] = {255, 255, 255};
    make_tiff_options o = {
        .w = 192, .h = 128, .compression = COMPRESSION_JPEG, .pixel = grey, .left_out = is_second};
    o.description = "Aperio Image Library v12\r\n192x128 [0,0 192x128] |AppMag = 20|MPP = 0.5";
    check_hole("sparse.svs", &o, white);
}

/* Trestle's files name their background. OpenSlide is transparent beyond the border: it lies there
 * too, whoever reads, and in a view. */
static void test_background(void)
{
    g_autofree char *path = temp_path("trestle.tif");
    make_tiff_options o = {.w = 192,
                           .h = 128,
                           .compression = COMPRESSION_JPEG,
                           .pixel = grey,
                           .software = "MedScan",
                           .description = "Background Color=FAE6C8;OverlapsXY=0 0"};
    make_tiff(path, &o);
    static const uint8_t cream[3] = {0xfa, 0xe6, 0xc8}, inside[3] = {130, 130, 130};
    for (int reader = 0; reader < 2; reader++) {
        GError *error = NULL;
        wsi_slide *slide =
            wsi_slide_open_by(path, 0, reader ? WSI_READER_OPENSLIDE : WSI_READER_AUTO, &error);
        g_assert_no_error(error);
        const wsi_slide_info *info = wsi_slide_get_info(slide);
        g_assert_cmpstr(info->vendor, ==, "trestle");
        g_assert_cmpmem(info->background, 3, cream, 3);
        wsi_view view;
        g_assert_true(wsi_view_init(&view, slide, true, 0, &error));
        for (int k = 0; k < 2; k++) {
            uint8_t rgb[16 * 16 * 3];
            bool ok = k ? wsi_view_read(&view, 184, 120, 16, 16, rgb, 16 * 3, &error)
                        : wsi_slide_read(slide, 0, 184, 120, 16, 16, rgb, 16 * 3, &error);
            g_assert_no_error(error);
            g_assert_true(ok);
            g_assert_cmpmem(rgb + (7 * 16 + 7) * 3, 3, inside, 3);
            g_assert_cmpmem(rgb + (7 * 16 + 8) * 3, 3, cream, 3);
            g_assert_cmpmem(rgb + (8 * 16 + 7) * 3, 3, cream, 3);
            g_assert_cmpmem(rgb + (15 * 16 + 15) * 3, 3, cream, 3);
        }
        wsi_slide_close(slide);
    }
}

/* ---- profiles -------------------------------------------------------------------------------- */
/* sRGB's primaries with gamma 1.8: each channel is a formula. */
static GBytes *make_profile(void)
{
    cmsToneCurve *curve = cmsBuildGamma(NULL, 1.8), *curves[3] = {curve, curve, curve};
    const cmsCIExyY d65 = {0.3127, 0.3290, 1.0};
    const cmsCIExyYTRIPLE rec709 = {{0.64, 0.33, 1}, {0.30, 0.60, 1}, {0.15, 0.06, 1}};
    cmsHPROFILE profile = cmsCreateRGBProfile(&d65, &rec709, curves);
    cmsUInt32Number n = 0;
    cmsSaveProfileToMem(profile, NULL, &n);
    uint8_t *data = g_malloc(n);
    g_assert_true(cmsSaveProfileToMem(profile, data, &n));
    cmsCloseProfile(profile);
    cmsFreeToneCurve(curve);
    return g_bytes_new_take(data, n);
}

static double to_srgb(uint8_t v)
{
    double linear = pow(v / 255.0, 1.8);
    return 255 * (linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055);
}

static const wsi_colour_windows every = {64, 64, NULL, 0};

/* Opens with --icc alone; returns what was done. */
static char *open_icc(const char *path, wsi_slide **slide, wsi_view *view, wsi_colour **colour,
                      char **remark)
{
    GError *error = NULL;
    const wsi_colour_rules rules = {.icc = true};
    char *done;
    *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_view_init(view, *slide, true, 0, &error));
    g_assert_true(wsi_colour_open(view, &rules, &every, colour, &done, remark, &error));
    view->colour = *colour;
    return done;
}

static void check_profile(const char *path, int slack)
{
    wsi_slide *slide;
    wsi_view view;
    wsi_colour *colour;
    g_autofree char *remark = NULL;
    g_autofree char *done = open_icc(path, &slide, &view, &colour, &remark);
    g_assert_cmpstr(done, ==, "icc");
    g_assert_nonnull(strstr(remark, "ICC profile"));
    uint8_t raw[64 * 64 * 3], changed[64 * 64 * 3];
    GError *error = NULL;
    g_assert_true(wsi_slide_read(slide, 0, 0, 0, 64, 64, raw, 64 * 3, &error));
    g_assert_true(wsi_view_read(&view, 0, 0, 64, 64, changed, 64 * 3, &error));
    for (int i = 0; i < 64 * 64 * 3; i++)
        if (!(fabs(changed[i] - to_srgb(raw[i])) <= slack + 0.5))
            g_error("%s: %d became %d, the formula says %.2f", path, raw[i], changed[i],
                    to_srgb(raw[i]));
    wsi_colour_close(colour);
    wsi_slide_close(slide);
}

static void test_icc(void)
{
    GBytes *profile = make_profile();
    gsize n;
    const uint8_t *data = g_bytes_get_data(profile, &n);
    g_autofree char *tiff = temp_path("icc.tif"), *strips = temp_path("icc-strips.tif"),
                    *jpeg = temp_path("icc.jpg"), *none = temp_path("no-icc.tif");
    make_tiff_options o = {.w = 128, .h = 128, .pixel = make_noise, .icc = data, .icc_bytes = n};
    make_tiff(tiff, &o);
    check_profile(tiff, 1);
    o.strips = true;
    make_tiff(strips, &o);
    check_profile(strips, 1);
    /* A JPEG with the profile in an APP2 segment after its first marker. */
    uint8_t *rgb = g_malloc(64 * 64 * 3), *bytes;
    for (int i = 0; i < 64 * 64; i++)
        make_smooth(i % 64, i / 64, rgb + 3 * i);
    size_t n_jpeg;
    g_assert_true(wsi_picture_encode(rgb, 64, 64, 95, &bytes, &n_jpeg, NULL));
    GByteArray *file = g_byte_array_new();
    const uint8_t head[] = {0xff, 0xe2, (uint8_t)((n + 16) >> 8), (uint8_t)(n + 16)};
    g_byte_array_append(file, bytes, 2);
    g_byte_array_append(file, head, sizeof head);
    g_byte_array_append(file, (const uint8_t *)"ICC_PROFILE\0\1\1", 14);
    g_byte_array_append(file, data, (guint)n);
    g_byte_array_append(file, bytes + 2, (guint)n_jpeg - 2);
    write_file(jpeg, file->data, file->len);
    g_byte_array_unref(file);
    g_free(bytes);
    g_free(rgb);
    check_profile(jpeg, 1);
    /* Without a profile nothing is done, and that is said. */
    make_tiff_options plain = {.w = 128, .h = 128, .pixel = make_noise};
    make_tiff(none, &plain);
    wsi_slide *slide;
    wsi_view view;
    wsi_colour *colour;
    g_autofree char *remark = NULL;
    g_autofree char *done = open_icc(none, &slide, &view, &colour, &remark);
    g_assert_cmpstr(done, ==, "");
    g_assert_null(colour);
    g_assert_nonnull(strstr(remark, "no ICC profile"));
    wsi_slide_close(slide);
    g_bytes_unref(profile);
}

static void test_icc_damaged(void)
{
    static const char rubbish[200] = "this is no profile";
    g_autofree char *path = temp_path("icc-damaged.tif");
    make_tiff_options o = {
        .w = 128, .h = 128, .pixel = make_noise, .icc = rubbish, .icc_bytes = sizeof rubbish};
    make_tiff(path, &o);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    wsi_view view;
    wsi_colour *colour;
    char *done, *remark;
    const wsi_colour_rules rules = {.icc = true};
    g_assert_true(wsi_view_init(&view, slide, true, 0, &error));
    g_assert_false(wsi_colour_open(&view, &rules, &every, &colour, &done, &remark, &error));
    g_assert_true(!colour && !done && !remark);
    expect_error(error, QS_ERROR_FORMAT, "icc-damaged.tif", "ICC profile is damaged", "--icc",
                 NULL);
    wsi_slide_close(slide);
}

/* ---- stains ---------------------------------------------------------------------------------- */
static const double haematoxylin[3] = {0.65, 0.70, 0.29}, eosin[3] = {0.22, 0.80, 0.56};

/* A pixel with known amounts of both. (Eosin that lets red through, below 0.15, is not dense enough
 * for Macenko's method.) */
static void stained(double h, double e, uint8_t rgb[3])
{
    for (int c = 0; c < 3; c++) {
        double v = 240 * exp(-(h * haematoxylin[c] + e * eosin[c])) - 1;
        rgb[c] = (uint8_t)CLAMP(lround(v), 0, 255);
    }
}

static void section(int64_t x, int64_t y, uint8_t rgb[3])
{
    qs_rng rng;
    qs_rng_init(&rng, 5, (uint64_t)y * 4096 + (uint64_t)x);
    double h = qs_rng_unit(&rng), e = qs_rng_unit(&rng);
    if (x < 128)
        stained(0, 0, rgb); /* glass */
    else
        stained(h < 0.4 ? 0.01 : 1.6 * h, h < 0.4 ? 0.8 + 0.8 * e : 0.02 * e, rgb);
}

static uint8_t *section_pixels(size_t n)
{
    uint8_t *rgb = g_malloc(n * 3);
    for (size_t i = 0; i < n; i++)
        section(128 + (int64_t)(i % 1000), (int64_t)(i / 1000), rgb + 3 * i);
    return rgb;
}

/* The vectors that the picture was painted with come back, and painting with others is the same as
 * normalising to them. */
static void test_known_stains(void)
{
    enum { N = 60000 };
    g_autofree uint8_t *rgb = section_pixels(N);
    GError *error = NULL;
    wsi_stain got, reference;
    g_assert_true(wsi_stain_estimate(WSI_STAIN_MACENKO, rgb, N, &got, &error));
    double norm_h = 0, norm_e = 0;
    for (int c = 0; c < 3; c++) {
        norm_h += haematoxylin[c] * haematoxylin[c];
        norm_e += eosin[c] * eosin[c];
    }
    for (int c = 0; c < 3; c++) {
        g_assert_cmpfloat_with_epsilon(got.v[c], haematoxylin[c] / sqrt(norm_h), 0.03);
        g_assert_cmpfloat_with_epsilon(got.v[3 + c], eosin[c] / sqrt(norm_e), 0.03);
    }
    /* To itself: nothing changes but what two stains cannot say. */
    wsi_stain_map *map = wsi_stain_map_create(&got, &got, &error);
    g_assert_no_error(error);
    for (int i = 0; i < 200; i++) {
        uint8_t p[3] = {rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]};
        wsi_stain_map_apply(map, p, 3, 1, 1);
        for (int c = 0; c < 3; c++)
            g_assert_cmpint(ABS(p[c] - rgb[3 * i + c]), <=, 4); /* I + 1 against I, roundings */
    }
    wsi_stain_map_destroy(map);
    /* Twice the strengths: twice the optical densities. */
    reference = got;
    reference.v[6] *= 2;
    reference.v[7] *= 2;
    map = wsi_stain_map_create(&got, &reference, &error);
    uint8_t one[3];
    double out[3];
    stained(0.5, 0.2, one);
    wsi_stain_map_exact(map, one, out);
    for (int c = 0; c < 3; c++) {
        double od = -log((one[c] + 1) / 240.0);
        g_assert_cmpfloat_with_epsilon(-log(out[c] / 240.0), 2 * od, 0.05);
    }
    wsi_stain_map_destroy(map);
}

/* Tables against the definition, over all of the cube's corners, edges and a lattice. */
static void check_tables(const wsi_stain *from, const wsi_stain *to)
{
    GError *error = NULL;
    wsi_stain_map *map = wsi_stain_map_create(from, to, &error);
    g_assert_no_error(error);
    int64_t n = 0, n_off = 0;
    for (int r = 0; r < 256; r += 5)
        for (int g = 0; g < 256; g += 3)
            for (int b = 0; b < 256; b += 5) {
                const uint8_t in[3] = {(uint8_t)r, (uint8_t)g, (uint8_t)b};
                uint8_t got[3] = {in[0], in[1], in[2]};
                double want[3];
                wsi_stain_map_apply(map, got, 3, 1, 1);
                wsi_stain_map_exact(map, in, want);
                for (int c = 0; c < 3; c++, n++) {
                    double clipped = CLAMP(want[c], 0, 255);
                    if (!(fabs(got[c] - clipped) <= 1.0))
                        g_error("%s %d,%d,%d channel %d: %d, the definition says %.3f",
                                wsi_stain_name(from->method), r, g, b, c, got[c], want[c]);
                    n_off += got[c] != lround(clipped);
                }
            }
    g_assert_cmpfloat((double)n_off / (double)n, <, 0.05); /* roundings at a half */
    wsi_stain_map_destroy(map);
}

static void oracle(wsi_stain_method method, const uint8_t *rgb, size_t n)
{
    GError *error = NULL;
    wsi_stain got, reference;
    wsi_stain_default(method, &reference);
    g_assert_true(wsi_stain_estimate(method, rgb, n, &got, &error));
    g_assert_no_error(error);
    check_tables(&got, &reference);
    g_autofree char *pixels = temp_path("pixels.bin"), *out = temp_path("normalised.bin");
    write_file(pixels, rgb, n * 3);
    const wsi_colour_rules rules = {.stain = reference};
    g_autofree char *text = wsi_colour_rules_text(&rules);
    g_autofree char *script =
        g_build_filename(g_getenv("QS_SOURCE_DIR"), "tests/wsi/stain_oracle.py", NULL);
    char *const args[] = {(char *)(uintptr_t) "/usr/bin/python3",
                          (char *)(uintptr_t) "-B",
                          script,
                          (char *)(uintptr_t)wsi_stain_name(method),
                          pixels,
                          strchr(text, ' ') + 1,
                          out,
                          NULL};
    g_autofree char *said = NULL, *errors = NULL;
    int status;
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)args, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                               &said, &errors, &status, &error));
    if (status != 0)
        g_error("%s", errors);
    g_auto(GStrv) numbers = g_strsplit(g_strchomp(said), ",", -1);
    g_assert_cmpint((int)g_strv_length(numbers), ==, wsi_stain_n_values(method));
    for (int i = 0; i < wsi_stain_n_values(method); i++) {
        double want = g_ascii_strtod(numbers[i], NULL);
        if (!(fabs(got.v[i] - want) <= 1e-9 * MAX(1, fabs(want))))
            g_error("%s %d: %.12g, numpy says %.12g", wsi_stain_name(method), i, got.v[i], want);
    }
    char *data;
    gsize bytes;
    g_assert_true(g_file_get_contents(out, &data, &bytes, NULL));
    g_assert_cmpint((int)bytes, ==, (int)(n * 3 * sizeof(double)));
    wsi_stain_map *map = wsi_stain_map_create(&got, &reference, &error);
    for (size_t i = 0; i < n; i++) {
        double exact[3], want[3];
        memcpy(want, data + i * sizeof want, sizeof want);
        wsi_stain_map_exact(map, rgb + 3 * i, exact);
        for (int c = 0; c < 3; c++)
            if (!(fabs(exact[c] - want[c]) <= 1e-7 * MAX(1, fabs(want[c]))))
                g_error("%s pixel %zu: %.10g, numpy says %.10g", wsi_stain_name(method), i,
                        exact[c], want[c]);
    }
    wsi_stain_map_destroy(map);
    g_free(data);
}

static bool numpy_is_there(void)
{
    int status = -1;
    bool ran = g_spawn_command_line_sync("/usr/bin/python3 -c \"import numpy\"", NULL, NULL,
                                         &status, NULL);
    if (ran && status == 0)
        return true;
    g_test_skip("python3 with numpy is not there");
    return false;
}

static void test_macenko_oracle(void)
{
    g_autofree uint8_t *rgb = section_pixels(20011);
    if (numpy_is_there())
        oracle(WSI_STAIN_MACENKO, rgb, 20011);
}

static void test_reinhard_oracle(void)
{
    g_autofree uint8_t *rgb = section_pixels(20011);
    if (numpy_is_there())
        oracle(WSI_STAIN_REINHARD, rgb, 20011);
}

static void test_stain_faults(void)
{
    GError *error = NULL;
    wsi_stain stain;
    g_autofree uint8_t *one_colour = g_malloc(5000 * 3), *rgb = section_pixels(999);
    for (int i = 0; i < 5000; i++)
        stained(0.5, 0.5, one_colour + 3 * i);
    for (int m = WSI_STAIN_MACENKO; m <= WSI_STAIN_REINHARD; m++) {
        g_assert_false(wsi_stain_estimate((wsi_stain_method)m, rgb, 999, &stain, &error));
        expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "too few", "999", NULL);
        g_assert_false(wsi_stain_estimate((wsi_stain_method)m, one_colour, 5000, &stain, &error));
        expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "H&E", NULL);
    }
    wsi_stain flat = {WSI_STAIN_MACENKO, {1, 0, 0, 1, 0, 0, 1, 1}}, usual;
    wsi_stain_default(WSI_STAIN_MACENKO, &usual);
    g_assert_null(wsi_stain_map_create(&flat, &usual, &error));
    expect_error(error, QS_ERROR_FORMAT, "macenko", "no inverse", NULL);
}

/* A slide through a view: its tissue is what is measured, and what is read is what the map says. */
static void test_view(void)
{
    g_autofree char *path = temp_path("section.tif");
    make_tiff_options o = {.w = 640, .h = 512, .mpp = 0.5, .pixel = section};
    make_tiff(path, &o);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    wsi_view view;
    g_assert_true(wsi_view_init(&view, slide, false, 0.5, &error));
    for (int m = WSI_STAIN_MACENKO; m <= WSI_STAIN_REINHARD; m++) {
        wsi_colour_rules rules, got;
        wsi_colour *colour;
        g_autofree char *done = NULL, *remark = NULL;
        rules = (wsi_colour_rules){0};
        wsi_stain_default((wsi_stain_method)m, &rules.stain);
        view.colour = NULL;
        g_assert_true(wsi_colour_open(&view, &rules, &every, &colour, &done, &remark, &error));
        g_assert_null(remark);
        g_assert_true(wsi_colour_rules_parse(&got, done, &error));
        g_assert_cmpint(got.stain.method, ==, m);
        wsi_stain measured;
        g_assert_true(wsi_colour_measure(&view, (wsi_stain_method)m, &every, &measured, &error));
        for (int i = 0; i < wsi_stain_n_values((wsi_stain_method)m); i++)
            g_assert_cmpfloat_with_epsilon(got.stain.v[i], measured.v[i], 1e-8);
        uint8_t raw[40 * 30 * 3], changed[40 * 30 * 3];
        g_assert_true(wsi_view_read(&view, 620, 490, 40, 30, raw, 40 * 3, &error));
        view.colour = colour;
        g_assert_true(wsi_view_read(&view, 620, 490, 40, 30, changed, 40 * 3, &error));
        wsi_stain_map *map = wsi_stain_map_create(&measured, &rules.stain, &error);
        wsi_stain_map_apply(map, raw, 40 * 3, 20, 22); /* beyond the border it stays background */
        g_assert_cmpmem(changed, sizeof changed, raw, sizeof raw);
        wsi_stain_map_destroy(map);
        wsi_colour_close(colour);
    }
    wsi_slide_close(slide);
}

static void glass(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, (int)(240 + (x * y) % 3), 3);
}

/* A slide without stains keeps its colours and says why. */
static void test_no_stains(void)
{
    g_autofree char *path = temp_path("glass.tif");
    make_tiff_options o = {.w = 256, .h = 256, .mpp = 0.5, .pixel = glass};
    make_tiff(path, &o);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    wsi_view view;
    g_assert_true(wsi_view_init(&view, slide, true, 0, &error));
    wsi_colour_rules rules = {0};
    wsi_stain_default(WSI_STAIN_MACENKO, &rules.stain);
    wsi_colour *colour;
    g_autofree char *done = NULL, *remark = NULL;
    g_assert_true(wsi_colour_open(&view, &rules, &every, &colour, &done, &remark, &error));
    g_assert_null(colour);
    g_assert_cmpstr(done, ==, "");
    g_assert_nonnull(strstr(remark, "its colours stay"));
    wsi_slide_close(slide);
}

static void test_rules_text(void)
{
    static const char *const good[] = {"", "icc", "macenko 0.5,0.25,0.125,1,2,3,4,5",
                                       "icc; reinhard 8.74,-0.124,0.04,0.6,0.1,0.03"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        GError *error = NULL;
        wsi_colour_rules rules;
        g_assert_true(wsi_colour_rules_parse(&rules, good[i], &error));
        g_autofree char *text = wsi_colour_rules_text(&rules);
        g_assert_cmpstr(text, ==, good[i]);
    }
    static const char *const bad[] = {"sRGB",          "macenko",
                                      "macenko 1,2,3", "reinhard 1,2,3,4,5,x",
                                      "none 1",        "reinhard 1,2,3,4,5,nan"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        wsi_colour_rules rules;
        g_assert_false(wsi_colour_rules_parse(&rules, bad[i], &error));
        expect_error(error, QS_ERROR_ARG, bad[i], NULL);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colour/sparse", test_sparse);
    g_test_add_func("/colour/background", test_background);
    g_test_add_func("/colour/icc", test_icc);
    g_test_add_func("/colour/icc-damaged", test_icc_damaged);
    g_test_add_func("/colour/known-stains", test_known_stains);
    g_test_add_func("/colour/macenko-oracle", test_macenko_oracle);
    g_test_add_func("/colour/reinhard-oracle", test_reinhard_oracle);
    g_test_add_func("/colour/stain-faults", test_stain_faults);
    g_test_add_func("/colour/view", test_view);
    g_test_add_func("/colour/no-stains", test_no_stains);
    g_test_add_func("/colour/rules-text", test_rules_text);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
