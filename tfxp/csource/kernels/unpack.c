/* Codes of few bits. */
#include "tfxp_kernels.h"

void tfxp_unpack(tfxp_packed packed, uint32_t first, int32_t count, int16_t *codes) {
  if (packed.bits == 0) {
    for (int32_t i = 0; i < count; ++i) {
      codes[i] = (int16_t)packed.factor;
    }
    return;
  }
  const uint32_t sign = (uint32_t)1 << (packed.bits - 1);
  const uint32_t mask = sign | (sign - 1u);
  uint32_t at = first * (uint32_t)packed.bits;
  for (int32_t i = 0; i < count; ++i) {
    const uint8_t *byte = packed.codes + (at >> 3);
    const uint32_t two = (uint32_t)byte[0] | ((uint32_t)byte[1] << 8);
    const uint32_t code = (two >> (at & 7u)) & mask;
    codes[i] = (int16_t)(((int32_t)(code ^ sign) - (int32_t)sign) * packed.factor);
    at += (uint32_t)packed.bits;
  }
}
