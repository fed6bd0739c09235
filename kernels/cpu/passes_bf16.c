/* The passes for tensors of bf16: AVX-512 with its BF16 instructions. Compiled with its own -march
 * (CMakeLists.txt). */
#define KN_PASSES kn_passes_bf16
#define KN_PASSES_NAME "x86-64-v4 with BF16"
#define KN_PASSES_BF16
#define VL 16
#include "kernels/cpu/passes.inc"
