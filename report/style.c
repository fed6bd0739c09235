/* The look of the report: one style sheet, light and dark, and the colours that charts and pictures
 * share; the regions have the colours of the training snapshots. Colours of marks have a contrast of
 * 3:1 or more to light and dark paper (WCAG 2.2, 1.4.11). Found, false and missed are told apart
 * without hue too: plain, hatched, dotted. */
#include "report/report.h"

static const uint8_t model_rgb[REPORT_MODELS_MAX][3] = {{0x00, 0x72, 0xB2}, {0xD5, 0x5E, 0x00},
                                                        {0x00, 0x9E, 0x73}, {0xCC, 0x79, 0xA7},
                                                        {0xB8, 0x86, 0x00}, {0x56, 0xB4, 0xE9}};

const uint8_t *rep_model_rgb(int index)
{
    return model_rgb[index % REPORT_MODELS_MAX];
}

/* clang-format off */
static const char *const sheet[] = {
    ":root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink:#1d1b18;\n",
    "--soft:#6b665e;--rule:#e4dfd6;--m0:#0072b2;--m1:#d55e00;--m2:#009e73;--m3:#b0568a;\n",
    "--m4:#a67800;--m5:#2f8fc4;--tp:#008060;--fp:#d55e00;--fn:#2678c8;--uc:#2a70b8;\n",
    "--us:#4591c8;--dc:#c8323c;--ds:#d87045;}\n",
    "@media(prefers-color-scheme:dark){:root{--paper:#171613;--card:#201e1b;\n",
    "--ink:#ece7dd;--soft:#a49c8f;--rule:#37332d;--m0:#5ab4e8;--m1:#f08a3c;--m2:#3cc79c;\n",
    "--m3:#e09cc4;--m4:#d9ae3a;--m5:#9bd4f5;}}\n",
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}\n",
    "body{margin:0;background:var(--paper);color:var(--ink);\n",
    "font:16px/1.55 ui-sans-serif,system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",\"DejaVu Sans\",Arial,sans-serif;\n",
    "font-variant-numeric:tabular-nums}\n",
    "main{max-width:1180px;margin:0 auto;padding:56px 28px 80px}\n",
    "h1,h2,h3{\n",
    "font-family:\"Iowan Old Style\",Charter,\"Palatino Linotype\",Palatino,\"P052\",Georgia,serif;\n",
    "font-weight:600;line-height:1.15;letter-spacing:-.01em;margin:0;text-wrap:balance}\n",
    "h1{font-size:clamp(34px,5vw,54px)}h2{font-size:28px;margin:72px 0 6px}\n",
    "h3{font-size:20px}\n",
    ".eyebrow{font-size:13px;letter-spacing:.08em;text-transform:uppercase;\n",
    "color:var(--soft);margin:0 0 14px}\n",
    ".lede{max-width:66ch;color:var(--soft);margin:14px 0 0}\n",
    ".note{max-width:74ch;color:var(--soft);font-size:14px;margin:6px 0 22px}\n",
    ".chip{display:inline-block;width:.72em;height:.72em;border-radius:50%;\n",
    "margin-right:.5em;vertical-align:-.02em}\n",
    ".square{border-radius:2px;box-shadow:0 0 0 1px var(--rule)}\n",
    "table{border-collapse:collapse;width:100%;font-size:15px}.wide{overflow-x:auto}\n",
    "th,td{padding:11px 14px;text-align:right;white-space:nowrap;\n",
    "border-bottom:1px solid var(--rule)}\n",
    "th{font-weight:500;color:var(--soft);font-size:13px}\n",
    "th:first-child,td:first-child{text-align:left;padding-left:0}\n",
    "tbody td:first-child{font-weight:600}td.big{font-size:21px;font-weight:600}\n",
    "td small{color:var(--soft);font-size:14px;font-weight:400}\n",
    "svg{display:block;width:100%;height:auto;overflow:visible}\n",
    "svg text{fill:var(--soft);font-size:12px;font-family:inherit}\n",
    "svg .name{fill:var(--ink)}svg .grid{stroke:var(--rule);stroke-width:1}\n",
    "svg .base{stroke:var(--soft);stroke-width:1}\n",
    "svg .line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}\n",
    "svg .raw{fill:none;stroke-width:1;opacity:.28}\n",
    ".charts{display:grid;\n",
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:36px 44px}\n",
    ".charts figure,.cells figure,.snap figure{margin:0;min-width:0}\n",
    "figcaption{font-size:14px;color:var(--soft);margin-top:8px}\n",
    ".charts h3{margin-bottom:2px}\n",
    ".key{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:14px;color:var(--soft);\n",
    "margin:6px 0 10px;padding:0;list-style:none}\n",
    "article{background:var(--card);border:1px solid var(--rule);border-radius:14px;\n",
    "padding:26px 26px 24px;margin:0 0 30px}\n",
    "article header{display:flex;flex-wrap:wrap;justify-content:space-between;\n",
    "align-items:baseline;gap:6px 28px;margin-bottom:18px}\n",
    "article header p{margin:0;color:var(--soft);font-size:14px}\n",
    ".score{font-weight:600;color:var(--ink)}\n",
    ".scores{display:flex;flex-wrap:wrap;gap:4px 22px}.cells{display:grid;gap:18px}\n",
    ".picture{position:relative;background:#fff;border-radius:8px;overflow:hidden;\n",
    "line-height:0;box-shadow:0 0 0 1px var(--rule)}\n",
    ".picture img{width:100%;height:auto;display:block}\n",
    ".cells figcaption b{color:var(--ink);font-weight:600}\n",
    ".scale{position:absolute;left:12px;bottom:10px;border-bottom:3px solid #111;\n",
    "color:#111;font-size:12px;line-height:1;padding-bottom:4px;text-align:center;white-space:nowrap;\n",
    "text-shadow:0 0 3px #fff,0 0 3px #fff,0 0 5px #fff}\n",
    ".bar{display:flex;height:7px;border-radius:4px;overflow:hidden;margin:10px 0 6px;\n",
    "background:var(--rule)}\n",
    ".bar i{display:block;height:100%}.snap{display:grid;gap:26px;margin-top:18px}\n",
    ".snap img{width:100%;height:auto;border-radius:8px;display:block;\n",
    "image-rendering:auto;box-shadow:0 0 0 1px var(--rule)}\n",
    "footer{margin-top:72px;padding-top:18px;border-top:1px solid var(--rule);\n",
    "font-size:14px;color:var(--soft)}\n",
    "footer p{max-width:80ch;margin:0 0 8px}\n",
    "@media(max-width:760px){.cells{min-width:640px}main{\n",
    "padding:36px 16px 60px}article{padding:18px 16px}}\n",
    ".chip,.bar,.bar i,.picture,svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}\n",
    ".hatched{background-image:repeating-linear-gradient(135deg,#fff9 0 1.5px,#0000 1.5px 4px)}\n",
    ".dotted{background-image:radial-gradient(#fff 1px,#0000 1.2px);background-size:4px 4px}\n",
    "@media print{article{break-inside:avoid}body{background:#fff}}\n",
};
/* clang-format on */

void rep_style(GString *page)
{
    for (size_t i = 0; i < G_N_ELEMENTS(sheet); i++)
        g_string_append(page, sheet[i]);
}

void rep_text(GString *page, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            g_string_append(page, "&amp;");
            break;
        case '<':
            g_string_append(page, "&lt;");
            break;
        case '>':
            g_string_append(page, "&gt;");
            break;
        case '"':
            g_string_append(page, "&quot;");
            break;
        default:
            g_string_append_c(page, *text);
        }
    }
}

void rep_data_uri(GString *page, const char *type, const uint8_t *bytes, size_t n)
{
    g_autofree char *text = g_base64_encode(bytes, n);
    g_string_append_printf(page, "data:%s;base64,", type);
    g_string_append(page, text);
}
