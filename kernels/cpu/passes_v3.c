/* The passes for AVX2 and FMA: 256-bit vectors. Compiled with its own -march (CMakeLists.txt). */
#define KN_PASSES kn_passes_v3
#define KN_PASSES_NAME "x86-64-v3"
#define VL 8
#include "kernels/cpu/passes.inc"
