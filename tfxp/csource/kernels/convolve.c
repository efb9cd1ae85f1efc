/* Convolutions: plain, grouped, depthwise, transposed; a dense layer is one of a single pixel. */
#include "tfxp_kernels.h"

typedef struct {
  int32_t first, last, column; /* output pixels of a row, `last` excluded; the first one's column */
} span;

/* The output pixels for which a tap lies inside the input's row. */
static span inside(const tfxp_convolution *layer, int32_t tap) {
  const tfxp_axis *axis = &layer->columns;
  const int32_t offset = tap * axis->dilation - axis->pad;
  const int32_t end = layer->input.width - offset + axis->stride - 1;
  span pixels = {offset < 0 ? (axis->stride - 1 - offset) / axis->stride : 0, 0, 0};
  pixels.last = end < 0 ? 0 : end / axis->stride;
  pixels.last = pixels.last > layer->output.width ? layer->output.width : pixels.last;
  pixels.column = pixels.first * axis->stride + offset;
  return pixels;
}

/* sums[i] += value * weights[i]; by eights, which compilers turn into vectors. */
static void add_scaled(int32_t count, int16_t value, const int16_t *restrict weights,
                       int32_t *restrict sums) {
  int32_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int32_t k = 0; k < 8; ++k) {
      sums[i + k] += value * weights[i + k];
    }
  }
  for (; i < count; ++i) {
    sums[i] += value * weights[i];
  }
}

/* Adds the products of one tap and one input channel: `count` outputs of every pixel in a row. */
static void add_products(const tfxp_convolution *layer, const int8_t *input_row, span pixels,
                         int32_t channel, const int16_t *weights, int32_t count, int32_t *sums) {
  const int32_t zero = layer->input_zero, outputs = layer->output.channels;
  const int32_t step = layer->columns.stride * layer->input.channels;
  const int8_t *code = input_row + pixels.column * layer->input.channels + channel;
  sums += pixels.first * outputs;
  for (int32_t x = pixels.first; x < pixels.last; ++x, code += step, sums += outputs) {
    const int16_t value = (int16_t)(*code - zero);
    if (!TFXP_SKIP_ZEROS || value != 0) {
      add_scaled(count, value, weights, sums);
    }
  }
}

/* The same for a depthwise layer, whose channels meet `count` weights each. */
static void add_depthwise(const tfxp_convolution *layer, const int8_t *input_row, span pixels,
                          const int16_t *weights, int32_t count, int32_t *sums) {
  const int32_t zero = layer->input_zero, outputs = layer->output.channels;
  const int32_t step = layer->columns.stride * layer->input.channels;
  const int8_t *pixel = input_row + pixels.column * layer->input.channels;
  sums += pixels.first * outputs;
  for (int32_t x = pixels.first; x < pixels.last; ++x, pixel += step, sums += outputs) {
    for (int32_t c = 0, o = 0; o < outputs; ++c) {
      const int32_t value = pixel[c] - zero;
      for (int32_t end = o + count; o < end; ++o) {
        sums[o] += value * weights[o];
      }
    }
  }
}

/* All products of one tap with one row of the input. */
static void add_tap(const tfxp_convolution *layer, const int8_t *input_row, int32_t row_tap,
                    int32_t tap, int32_t *sums, int16_t *weights) {
  const int32_t all = layer->output.channels;
  const int32_t outputs = all / layer->groups;
  const int32_t inputs = layer->input.channels / layer->groups;
  const span pixels = inside(layer, tap);
  for (int32_t c = 0; c < inputs; ++c) {
    const int32_t place = ((row_tap * layer->columns.taps + tap) * inputs + c) * all;
    tfxp_unpack(layer->weights, (uint32_t)place, all, weights);
    if (inputs == 1 && layer->groups > 1) {
      add_depthwise(layer, input_row, pixels, weights, outputs, sums);
      continue;
    }
    for (int32_t g = 0; g < layer->groups; ++g) {
      add_products(layer, input_row, pixels, g * inputs + c, weights + g * outputs, outputs,
                   sums + g * outputs);
    }
  }
}

static void start_row(const tfxp_convolution *layer, int32_t *sums) {
  const int32_t all = layer->output.channels;
  for (int32_t x = 0; x < layer->output.width; ++x) {
    for (int32_t o = 0; o < all; ++o) {
      sums[x * all + o] = layer->bias[o];
    }
  }
}

void tfxp_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                   int32_t *sums, int16_t *weights) {
  for (int32_t y = 0; y < layer->output.height; ++y) {
    start_row(layer, sums);
    for (int32_t t = 0; t < layer->rows.taps; ++t) {
      const int32_t line = y * layer->rows.stride + t * layer->rows.dilation - layer->rows.pad;
      if (line < 0 || line >= layer->input.height) {
        continue; /* taps beyond the border read zero */
      }
      const int8_t *input_row = input + line * layer->input.width * layer->input.channels;
      for (int32_t tap = 0; tap < layer->columns.taps; ++tap) {
        add_tap(layer, input_row, t, tap, sums, weights);
      }
    }
    tfxp_requantize(&layer->requantizer, layer->output.width, layer->output.channels, sums, output);
    output += layer->output.width * layer->output.channels;
  }
}

/* All products of one tap with one row of the input, each added where the tap points to. */
static void scatter_tap(const tfxp_convolution *layer, const int8_t *input_row, int32_t row_tap,
                        int32_t tap, int32_t *sums, int16_t *weights) {
  const int32_t all = layer->output.channels, inputs = layer->input.channels;
  for (int32_t c = 0; c < inputs; ++c) {
    const int32_t place = ((row_tap * layer->columns.taps + tap) * inputs + c) * all;
    tfxp_unpack(layer->weights, (uint32_t)place, all, weights);
    for (int32_t x = 0; x < layer->input.width; ++x) {
      const int32_t column = x * layer->columns.stride + tap - layer->columns.pad;
      const int16_t value = (int16_t)(input_row[x * inputs + c] - layer->input_zero);
      if (column < 0 || column >= layer->output.width || (TFXP_SKIP_ZEROS && value == 0)) {
        continue;
      }
      add_scaled(all, value, weights, sums + column * all);
    }
  }
}

void tfxp_transpose_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                             int32_t *sums, int16_t *weights) {
  for (int32_t y = 0; y < layer->output.height; ++y) {
    start_row(layer, sums);
    for (int32_t t = 0; t < layer->rows.taps; ++t) {
      const int32_t scaled = y + layer->rows.pad - t;
      const int32_t line = scaled / layer->rows.stride;
      if (scaled < 0 || scaled % layer->rows.stride != 0 || line >= layer->input.height) {
        continue; /* no input row comes here by this tap */
      }
      const int8_t *input_row = input + line * layer->input.width * layer->input.channels;
      for (int32_t tap = 0; tap < layer->columns.taps; ++tap) {
        scatter_tap(layer, input_row, t, tap, sums, weights);
      }
    }
    tfxp_requantize(&layer->requantizer, layer->output.width, layer->output.channels, sums, output);
    output += layer->output.width * layer->output.channels;
  }
}
