#include "wsi/image/sniff.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const type_names[] = {
    [WSI_FILE_OTHER] = "a file of unknown kind",
    [WSI_FILE_TEXT] = "a text file",
    [WSI_FILE_TIFF] = "a TIFF",
    [WSI_FILE_JPEG] = "a JPEG",
    [WSI_FILE_PNG] = "a PNG",
    [WSI_FILE_DICOM] = "a DICOM file",
    [WSI_FILE_JPEG2000] = "a JPEG 2000 file",
    [WSI_FILE_ZIP] = "a ZIP archive",
};

const char *wsi_file_type_name(wsi_file_type type)
{
    return type_names[type];
}

/* Text: no control byte but tab, line ends and form feed in what was read. */
static bool looks_like_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < 32 && !strchr("\t\n\r\f", p[i] ? p[i] : 1))
            return false;
    return true;
}

static wsi_file_type type_of(const uint8_t *p, size_t n)
{
    static const struct {
        size_t at, n;
        const char *bytes;
        wsi_file_type type;
    } magics[] = {
        {0, 4, "II*\0", WSI_FILE_TIFF},
        {0, 4, "MM\0*", WSI_FILE_TIFF},
        {0, 4, "II+\0", WSI_FILE_TIFF},
        {0, 4, "MM\0+", WSI_FILE_TIFF},
        {0, 3, "\xff\xd8\xff", WSI_FILE_JPEG},
        {0, 8, "\x89PNG\r\n\x1a\n", WSI_FILE_PNG},
        {128, 4, "DICM", WSI_FILE_DICOM},
        {4, 4, "jP  ", WSI_FILE_JPEG2000},
        {0, 4, "\xff\x4f\xff\x51", WSI_FILE_JPEG2000},
        {0, 4, "PK\3\4", WSI_FILE_ZIP},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(magics); i++)
        if (n >= magics[i].at + magics[i].n &&
            memcmp(p + magics[i].at, magics[i].bytes, magics[i].n) == 0)
            return magics[i].type;
    return looks_like_text(p, n) ? WSI_FILE_TEXT : WSI_FILE_OTHER;
}

bool wsi_sniff(const char *path, wsi_file_type *type, int64_t *n_bytes, GError **error)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        qs_set_error_errno(error, errno, "%s: cannot be opened", path);
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: is a directory; give the slide file in it", path);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: is no regular file (a pipe or device); slides are read out of order",
                    path);
        return false;
    }
    if (st.st_size == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: is empty (0 bytes); copy or download it again", path);
        return false;
    }
    FILE *file = fopen(path, "rbe");
    if (!file) {
        qs_set_error_errno(error, errno, "%s: cannot be opened", path);
        return false;
    }
    uint8_t head[512];
    size_t n = fread(head, 1, sizeof head, file);
    bool ok = n > 0;
    if (!ok)
        qs_set_error_errno(error, errno, "%s: cannot be read", path);
    fclose(file);
    if (ok) {
        *type = type_of(head, n);
        *n_bytes = st.st_size;
    }
    return ok;
}

/* Blocks of 64 coefficients of 2 bytes, whole MCUs, for every component (ITU-T T.81 A.2). */
static int64_t coefficient_bytes(const uint8_t *sof, int w, int h, int n_components)
{
    int h_max = 1, v_max = 1;
    for (int i = 0; i < n_components; i++) {
        h_max = MAX(h_max, sof[7 + 3 * i] >> 4);
        v_max = MAX(v_max, sof[7 + 3 * i] & 15);
    }
    int64_t mcus =
        (int64_t)((w + 8 * h_max - 1) / (8 * h_max)) * ((h + 8 * v_max - 1) / (8 * v_max));
    int64_t blocks = 0;
    for (int i = 0; i < n_components; i++)
        blocks += mcus * (sof[7 + 3 * i] >> 4) * (sof[7 + 3 * i] & 15);
    return blocks * 64 * 2;
}

/* One marker segment. Returns 1 when it was the frame header, 0 to go on, -1 at damage. */
static int next_segment(FILE *file, wsi_jpeg_header *header)
{
    int c = getc(file);
    if (c != 0xff)
        return -1;
    while (c == 0xff)
        c = getc(file);
    if (c == 0xd8 || c == 0x01 || (c >= 0xd0 && c <= 0xd7))
        return 0; /* markers without a length */
    int hi = getc(file), lo = getc(file);
    if (c == EOF || hi == EOF || lo == EOF || c == 0xd9 || c == 0xda)
        return -1;
    int n = (hi << 8 | lo) - 2;
    bool sof = c >= 0xc0 && c <= 0xcf && c != 0xc4 && c != 0xc8 && c != 0xcc;
    if (!sof)
        return n >= 0 && fseek(file, n, SEEK_CUR) == 0 ? 0 : -1;
    uint8_t body[6 + 3 * 4];
    if (n < 6 || fread(body, 1, 6, file) != 6)
        return -1;
    header->bits = body[0];
    header->h = body[1] << 8 | body[2];
    header->w = body[3] << 8 | body[4];
    header->n_components = body[5];
    header->progressive = c == 0xc2 || c == 0xc6 || c == 0xca || c == 0xce;
    if (header->n_components < 1 || header->n_components > 4 || n < 6 + 3 * header->n_components ||
        fread(body + 6, 3, (size_t)header->n_components, file) != (size_t)header->n_components)
        return -1;
    header->coefficient_bytes = coefficient_bytes(body, header->w, header->h, header->n_components);
    return 1;
}

bool wsi_jpeg_header_read(const char *path, wsi_jpeg_header *header, GError **error)
{
    memset(header, 0, sizeof *header);
    FILE *file = fopen(path, "rbe");
    if (!file) {
        qs_set_error_errno(error, errno, "%s: cannot be opened", path);
        return false;
    }
    int found = 0;
    while (found == 0)
        found = next_segment(file, header);
    fclose(file);
    if (found < 0)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: truncated or damaged JPEG: no frame header; copy it again", path);
    return found > 0;
}
