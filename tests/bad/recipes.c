#include "tests/bad/recipes.h"

#include "tests/wsi/make_tiff.h"
#include "wsi/image/picture.h"

#include <glib/gstdio.h>

#include <stdlib.h>
#include <sys/stat.h>

/* ---- bytes of a TIFF ---------------------------------------------------------------------------
 */
typedef struct {
    uint8_t *p;
    size_t n;
} bytes;

static bytes load(const char *path)
{
    bytes b;
    char *data;
    gsize n;
    if (!g_file_get_contents(path, &data, &n, NULL))
        g_error("recipe: cannot read %s", path);
    b.p = (uint8_t *)data;
    b.n = n;
    return b;
}

static void save(bytes b, const char *path)
{
    if (!g_file_set_contents(path, (const char *)b.p, (gssize)b.n, NULL))
        g_error("recipe: cannot write %s", path);
    g_free(b.p);
}

static uint32_t get(const bytes *b, size_t at, int n)
{
    uint32_t v = 0;
    g_assert(at + (size_t)n <= b->n);
    for (int i = 0; i < n; i++)
        v |= (uint32_t)b->p[at + (size_t)i] << 8 * i;
    return v;
}

static void put(bytes *b, size_t at, int n, uint32_t v)
{
    g_assert(at + (size_t)n <= b->n);
    for (int i = 0; i < n; i++)
        b->p[at + (size_t)i] = (uint8_t)(v >> 8 * i);
}

static size_t directory(const bytes *b, int number)
{
    size_t at = get(b, 4, 4);
    for (; number > 0; number--)
        at = get(b, at + 2 + 12 * get(b, at, 2), 4);
    g_assert(at > 0);
    return at;
}

/* Where the entry of a tag lies. */
static size_t entry(const bytes *b, int dir, unsigned tag)
{
    size_t at = directory(b, dir);
    for (unsigned i = 0; i < get(b, at, 2); i++)
        if (get(b, at + 2 + 12 * i, 2) == tag)
            return at + 2 + 12 * i;
    g_error("recipe: directory %d has no tag %u", dir, tag);
}

static int value_size(unsigned type)
{
    return type == TIFF_SHORT                                                  ? 2
           : type == TIFF_BYTE || type == TIFF_ASCII || type == TIFF_UNDEFINED ? 1
           : type == TIFF_RATIONAL                                             ? 8
                                                                               : 4;
}

/* Where value `index` of an entry lies. */
static size_t value(const bytes *b, size_t at, unsigned index)
{
    int size = value_size(get(b, at + 2, 2));
    bool within = get(b, at + 4, 4) * (unsigned)size <= 4;
    return (within ? at + 8 : get(b, at + 8, 4)) + (size_t)size * index;
}

/* ---- recipes on the slide
 * ------------------------------------------------------------------------ */
typedef struct {
    char *const *words; /* after the name */
    const char *slide, *mask, *out;
} job;

static long number(const job *j, int i)
{
    return j->words[i] ? strtol(j->words[i], NULL, 0) : 0;
}

/* truncate PERCENT | truncate -BYTES */
static void truncate_file(const job *j)
{
    bytes b = load(j->slide);
    double share = g_ascii_strtod(j->words[0], NULL);
    b.n = share < 0 ? b.n - (size_t)-share : (size_t)((double)b.n * share / 100);
    save(b, j->out);
}

/* keep BYTES: the first ones */
static void keep(const job *j)
{
    bytes b = load(j->slide);
    b.n = MIN(b.n, (size_t)number(j, 0));
    save(b, j->out);
}

/* tag DIR TAG INDEX VALUE …: values of tags */
static void set_tag(const job *j)
{
    bytes b = load(j->slide);
    for (int i = 0; j->words[i]; i += 4) {
        size_t at = entry(&b, (int)number(j, i), (unsigned)number(j, i + 1));
        put(&b, value(&b, at, (unsigned)number(j, i + 2)), MIN(4, value_size(get(&b, at + 2, 2))),
            (uint32_t)strtoul(j->words[i + 3], NULL, 0));
    }
    save(b, j->out);
}

/* count DIR TAG N: how many values the entry says it has */
static void set_count(const job *j)
{
    bytes b = load(j->slide);
    put(&b, entry(&b, (int)number(j, 0), (unsigned)number(j, 1)) + 4, 4,
        (uint32_t)strtoul(j->words[2], NULL, 0));
    save(b, j->out);
}

/* without DIR TAG: the entry becomes one that nobody knows */
static void remove_tag(const job *j)
{
    bytes b = load(j->slide);
    put(&b, entry(&b, (int)number(j, 0), (unsigned)number(j, 1)), 2, 65000);
    save(b, j->out);
}

/* first OFFSET: where the header says that the first directory is */
static void set_first(const job *j)
{
    bytes b = load(j->slide);
    put(&b, 4, 4, (uint32_t)strtoul(j->words[0], NULL, 0));
    save(b, j->out);
}

/* loop: the last directory is followed by the first */
static void loop(const job *j)
{
    bytes b = load(j->slide);
    size_t at = directory(&b, 1);
    put(&b, at + 2 + 12 * get(&b, at, 2), 4, get(&b, 4, 4));
    save(b, j->out);
}

/* tile DIR INDEX zero|noise|short: the middle of a tile's JPEG data, or its length */
static void damage_tile(const job *j)
{
    bytes b = load(j->slide);
    int dir = (int)number(j, 0);
    unsigned index = (unsigned)number(j, 1);
    size_t sizes = entry(&b, dir, TIFFTAG_TILEBYTECOUNTS);
    size_t from = get(&b, value(&b, entry(&b, dir, TIFFTAG_TILEOFFSETS), index), 4);
    size_t n = get(&b, value(&b, sizes, index), value_size(get(&b, sizes + 2, 2)));
    if (!strcmp(j->words[2], "short"))
        put(&b, value(&b, sizes, index), value_size(get(&b, sizes + 2, 2)), (uint32_t)n / 3);
    else
        memset(b.p + from, !strcmp(j->words[2], "zero") ? 0 : 0xff, n);
    save(b, j->out);
}

/* copy: as it is */
static void copy(const job *j)
{
    save(load(j->slide), j->out);
}

/* ---- files of their own
 * -------------------------------------------------------------------------- */
/* bytes TEXT: with C's escapes */
static void write_bytes(const job *j)
{
    g_autofree char *joined = g_strjoinv(" ", (char **)(uintptr_t)j->words);
    g_autofree char *text = g_strcompress(joined);
    size_t n = strlen(text);
    g_assert_true(g_file_set_contents(j->out, text, (gssize)n, NULL));
}

static void empty(const job *j)
{
    g_assert_true(g_file_set_contents(j->out, "", 0, NULL));
}

static void folder(const job *j)
{
    g_assert_cmpint(g_mkdir(j->out, 0777), ==, 0);
}

static void fifo(const job *j)
{
    g_assert_cmpint(mkfifo(j->out, 0666), ==, 0);
}

static void dicom(const job *j)
{
    bytes b = {g_malloc0(256), 256};
    memcpy(b.p + 128, "DICM", 4);
    save(b, j->out);
}

static void tissue_pixel(int64_t x, int64_t y, uint8_t rgb[3])
{
    make_noise(x, y, rgb);
    rgb[0] = (uint8_t)(200 - rgb[0] / 8);
    rgb[1] = (uint8_t)(90 + rgb[1] / 8);
    rgb[2] = (uint8_t)(160 - rgb[2] / 8);
}

static void white_pixel(int64_t x, int64_t y, uint8_t rgb[3])
{
    (void)x, (void)y;
    memset(rgb, 250, 3);
}

static void label_pixel(int64_t x, int64_t y, uint8_t rgb[3])
{
    rgb[0] = rgb[1] = rgb[2] = (uint8_t)(x < 100 && y < 80 ? 7 : x > 300);
}

static void colour_pixel(int64_t x, int64_t y, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)(x / 2), rgb[1] = (uint8_t)y, rgb[2] = 3;
}

/* picture WHAT KEY=VALUE…: w h tile bits samples compression levels mpp strips */
static void picture(const job *j)
{
    static const struct {
        const char *name;
        make_pixel pixel;
    } kinds[] = {{"tissue", tissue_pixel},
                 {"white", white_pixel},
                 {"labels", label_pixel},
                 {"colour", colour_pixel}};
    make_tiff_options o = {.w = 512, .h = 384, .tile = 128};
    double mpp = 0.5;
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        o.pixel = !strcmp(kinds[i].name, j->words[0]) ? kinds[i].pixel : o.pixel;
    g_assert_nonnull(o.pixel);
    for (int i = 1; j->words[i]; i++) {
        const char *at = strchr(j->words[i], '=');
        g_assert_nonnull(at);
        double v = g_ascii_strtod(at + 1, NULL);
        g_autofree char *key = g_strndup(j->words[i], (gsize)(at - j->words[i]));
        int *const fields[] = {&o.w,         &o.h,           &o.tile,    &o.bits,
                               &o.n_samples, &o.compression, &o.n_levels};
        static const char *const names[] = {"w",       "h",           "tile",  "bits",
                                            "samples", "compression", "levels"};
        bool known = !strcmp(key, "mpp") || !strcmp(key, "strips");
        for (size_t k = 0; k < G_N_ELEMENTS(names); k++)
            if (!strcmp(key, names[k])) {
                *fields[k] = (int)v;
                known = true;
            }
        g_assert_true(known);
        if (!strcmp(key, "mpp"))
            mpp = v;
        if (!strcmp(key, "strips"))
            o.strips = v > 0;
    }
    o.mpp = mpp;
    make_tiff(j->out, &o);
}

/* aperio MPP: a tiled JPEG TIFF whose description is an Aperio's */
static void aperio(const job *j)
{
    g_autofree char *text =
        g_strdup_printf("Aperio Image Library v1\r\n512x384 [0,0 512x384] (128x128) JPEG/RGB "
                        "Q=90|AppMag = 20|MPP = %s",
                        j->words[0]);
    uint8_t *tile = g_malloc(128 * 128 * 3);
    TIFF *tiff = TIFFOpen(j->out, "w");
    g_assert_nonnull(tiff);
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, 512);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, 384);
    TIFFSetField(tiff, TIFFTAG_IMAGEDESCRIPTION, text);
    TIFFSetField(tiff, TIFFTAG_IMAGEDEPTH, 1);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 3);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_JPEG);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, 128);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, 128);
    for (uint32_t y = 0; y < 384; y += 128)
        for (uint32_t x = 0; x < 512; x += 128) {
            for (uint32_t i = 0; i < 128 * 128; i++)
                tissue_pixel(x + i % 128, y + i / 128, tile + 3 * i);
            TIFFWriteTile(tiff, tile, x, y, 0, 0);
        }
    TIFFClose(tiff);
    g_free(tile);
}

/* jpeg|png [cut PERCENT | end]: a plain picture, whole, cut, or with an end marker in its middle */
static void plain(const job *j, int quality)
{
    enum { W = 400, H = 300 };
    uint8_t *rgb = g_malloc(W * H * 3), *data;
    size_t n;
    for (int i = 0; i < W * H; i++)
        tissue_pixel(i % W, i / W, rgb + 3 * i);
    g_assert_true(wsi_picture_encode(rgb, W, H, quality, &data, &n, NULL));
    g_free(rgb);
    if (j->words[0] && !strcmp(j->words[0], "cut"))
        n = n * (size_t)number(j, 1) / 100;
    if (j->words[0] && !strcmp(j->words[0], "end"))
        memcpy(data + n / 2, "\xff\xd9", 2);
    save((bytes){data, n}, j->out);
}

static void jpeg(const job *j)
{
    plain(j, 90);
}

static void png(const job *j)
{
    plain(j, 0);
}

/* progressive: a header of 65,500 x 65,500 pixels */
static void progressive(const job *j)
{
    static const uint8_t head[] = {0xff, 0xd8, 0xff, 0xc2, 0,    17, 8, 0xff, 0xdc, 0xff, 0xdc, 3,
                                   1,    0x11, 0,    2,    0x11, 0,  3, 0x11, 0,    0xff, 0xda};
    g_assert_true(g_file_set_contents(j->out, (const char *)head, sizeof head, NULL));
}

/* cohort LINE | LINE …: with a header; SLIDE and MASK are the good ones */
static void cohort(const job *j)
{
    g_autofree char *joined = g_strjoinv(" ", (char **)(uintptr_t)j->words);
    g_autofree char *escaped = g_strcompress(joined);
    g_auto(GStrv) lines = g_strsplit(escaped, " | ", -1);
    g_autoptr(GString) text = g_string_new("slide,mask,case,split,labelled,mpp\n");
    for (char **line = lines; *line; line++)
        g_string_append_printf(text, "%s\n", *line);
    g_string_replace(text, "SLIDE", j->slide, 0);
    g_string_replace(text, "MASK", j->mask, 0);
    g_assert_true(g_file_set_contents(j->out, text->str, (gssize)text->len, NULL));
}

static const struct {
    const char *name;
    void (*make)(const job *j);
} recipes[] = {
    {"truncate", truncate_file},
    {"keep", keep},
    {"tag", set_tag},
    {"count", set_count},
    {"without", remove_tag},
    {"first", set_first},
    {"loop", loop},
    {"tile", damage_tile},
    {"copy", copy},
    {"bytes", write_bytes},
    {"empty", empty},
    {"folder", folder},
    {"fifo", fifo},
    {"dicom", dicom},
    {"picture", picture},
    {"aperio", aperio},
    {"jpeg", jpeg},
    {"png", png},
    {"progressive", progressive},
    {"cohort", cohort},
};

bool bad_recipe(char *const *words, const char *slide, const char *mask, const char *out)
{
    const job j = {words + 1, slide, mask, out};
    for (size_t i = 0; i < G_N_ELEMENTS(recipes); i++)
        if (!strcmp(recipes[i].name, words[0])) {
            recipes[i].make(&j);
            return true;
        }
    return false;
}
