/* The passes for AVX-512: 512-bit vectors. Compiled with its own -march (CMakeLists.txt). */
#define KN_PASSES kn_passes_v4
#define KN_PASSES_NAME "x86-64-v4"
#define VL 16
#include "kernels/cpu/passes.inc"
