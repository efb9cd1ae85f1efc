/* Reductions of an axis: means and extremes. */
#include "tfxp_kernels.h"

static int32_t sum_of(int32_t count, int32_t inner, const int8_t *input) {
  int32_t sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    sum += input[i * inner];
  }
  return sum;
}

/* How many of the rising steps are at most `sum`. */
static int32_t reached(const int32_t *steps, int32_t step_count, int32_t sum) {
  int32_t below = 0, above = step_count;
  while (below < above) {
    const int32_t middle = (below + above) / 2;
    if (steps[middle] <= sum) {
      below = middle + 1;
    } else {
      above = middle;
    }
  }
  return below;
}

void tfxp_mean(int32_t outer, int32_t count, int32_t inner, int32_t step_count, int32_t lowest,
               const int32_t *steps, const int8_t *input, int8_t *output) {
  for (int32_t o = 0; o < outer; ++o, input += count * inner) {
    for (int32_t i = 0; i < inner; ++i) {
      *output++ = (int8_t)(lowest + reached(steps, step_count, sum_of(count, inner, input + i)));
    }
  }
}

void tfxp_mean_by_shift(int32_t outer, int32_t count, int32_t inner, int32_t offset, int32_t shift,
                        int half_up, int32_t zero, const int8_t *input, int8_t *output) {
  for (int32_t o = 0; o < outer; ++o, input += count * inner) {
    for (int32_t i = 0; i < inner; ++i) {
      const int32_t sum = sum_of(count, inner, input + i) - offset;
      const int32_t mean =
          half_up ? tfxp_round_half_up(sum, shift) : tfxp_round_half_even(sum, shift);
      *output++ = tfxp_clamp(mean + zero, INT8_MIN, INT8_MAX);
    }
  }
}

/* The largest of sign * code, times sign. */
static void extreme(int32_t outer, int32_t count, int32_t inner, int32_t sign, const int8_t *input,
                    int8_t *output) {
  for (int32_t o = 0; o < outer; ++o, input += count * inner) {
    for (int32_t i = 0; i < inner; ++i) {
      int32_t best = INT8_MIN;
      for (int32_t k = 0; k < count; ++k) {
        const int32_t code = sign * input[k * inner + i];
        best = code > best ? code : best;
      }
      *output++ = (int8_t)(sign * best);
    }
  }
}

void tfxp_reduce_max(int32_t outer, int32_t count, int32_t inner, const int8_t *input,
                     int8_t *output) {
  extreme(outer, count, inner, 1, input, output);
}

void tfxp_reduce_min(int32_t outer, int32_t count, int32_t inner, const int8_t *input,
                     int8_t *output) {
  extreme(outer, count, inner, -1, input, output);
}
