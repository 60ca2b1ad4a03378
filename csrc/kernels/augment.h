// Images moved, coloured and cut out at random: what changes a training batch on its way into a network. Images are
// (n, h, w, c). Everything that is drawn for image k is a function of (key, k) alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/philox.h"
#include "kernels/context.h"

namespace lamella {

// What lies beyond an image's border: one value, the border's pixels, the image mirrored (d c b a | a b c d | d c b a),
// the image again (a b c d | a b c d | a b c d).
enum class Border : int32_t { kConstant, kNearest, kReflect, kWrap };

// y(k, i, j) = x(k) at column m0 j + m1 i + m2 and row m3 j + m4 i + m5, m = matrix[k]; coordinates count pixel
// centres. Bilinear mixes the four pixels around, else the nearest is taken (floor(coordinate + 1/2)). Coordinates
// beyond 2^30, NaN too, lie outside. h * w * c < 2^31.
template <class T>
struct WarpParams {
  int64_t n = 0, h = 0, w = 0, c = 0, oh = 0, ow = 0;
  Border border = Border::kConstant;
  bool bilinear = true;
  T fill = 0;                 // for kConstant
  const T* matrix = nullptr;  // (n, 6)
  const T* x = nullptr;       // (n, h, w, c); backward: the gradient by y, (n, oh, ow, c)
  T* y = nullptr;             // (n, oh, ow, c); backward: the gradient by x, overwritten
};

struct Range {
  double low = 0, high = 0;
};

// matrix[k] for WarpParams: the output's centre comes to the input's, with mirroring, zoom, rotation and shift on the
// way; or, with `crop`, the output is a window of the input at random, mirrored or not.
template <class T>
struct RandomAffineParams {
  PhiloxKey key;
  int64_t n = 0, h = 0, w = 0, oh = 0, ow = 0;
  Range angle;                       // radians, counterclockwise as seen
  Range zoom_h{1, 1}, zoom_w{1, 1};  // input pixels per output pixel
  bool same_zoom = false;            // zoom_h for both axes
  Range shift_h, shift_w;            // by how much of the input's size the content moves down, and to the right
  double flip_h = 0, flip_w = 0;     // probabilities of mirroring rows top to bottom, columns left to right
  bool crop = false;
  bool center = false;  // of `crop`: the window in the middle, nothing drawn
  T* matrix = nullptr;  // (n, 6)
};

// y = gain * (contrast * (x - mean) + mean) + offset with one draw each per image and the mean per channel over its
// pixels, or with `gray` that of the grey image for all channels; then into [low, high].
// backward: the gradient by x, which passes where the result lies inside (low, high).
template <class T>
struct RandomColorParams {
  PhiloxKey key;
  int64_t n = 0, pixels = 0, c = 0;
  Range gain{1, 1}, contrast{1, 1}, offset;
  bool gray = false;
  T low = 0, high = 0;
  const T* x = nullptr;       // backward: the gradient by y
  const T* result = nullptr;  // backward: what forward gave; nullptr: forward
  T* y = nullptr;             // may be x; backward: the gradient by x
};

// One rectangle per image is overwritten, with a probability that is drawn too. Its area is a share of the image's:
// either sqrt(share) of each side with two draws of `area`, or, with `aspect` (high > 0), one draw and the ratio of
// height to width, whose logarithm is uniform.
template <class T>
struct RandomErasingParams {
  PhiloxKey key;
  int64_t n = 0, h = 0, w = 0, c = 0;
  Range probability{1, 1}, area, aspect;
  T noise = 0;               // > 0: the standard deviation of normal noise instead of a value
  const T* value = nullptr;  // [values]: one for all channels or one each; in the host's memory on a device too
  int64_t values = 0;
  const T* x = nullptr;
  T* y = nullptr;  // may be x
};

template <class T>
struct AugmentKernels {
  void (*warp)(const Context&, const WarpParams<T>&) = nullptr;
  void (*warp_backward)(const Context&, const WarpParams<T>&) = nullptr;
  void (*random_affine)(const Context&, const RandomAffineParams<T>&) = nullptr;
  size_t (*random_color_workspace)(const RandomColorParams<T>&, int threads) = nullptr;
  void (*random_color)(const Context&, const RandomColorParams<T>&) = nullptr;
  void (*random_erasing)(const Context&, const RandomErasingParams<T>&) = nullptr;
};

}  // namespace lamella
