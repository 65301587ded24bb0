// Finds boxes in an image with a detector that `mlla export format=onnx` wrote.
//
//     detect MODEL.onnx IMAGE.ppm [least score, 0.25]
//
// Prints one line for each box: class, score, and left, top, right and bottom edge in pixels.
// Build: see README.md in this folder. Needs nothing but ONNX Runtime.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr float kGrey = 114.0f / 255.0f;  // what Ultralytics pads with
constexpr float kMaxOverlap = 0.7f;       // of two boxes of one class, as in Ultralytics

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // rows of red, green, blue
};

struct Box {
  int label;
  float score, left, top, right, bottom;
};

// Where the image lies inside the square that the network sees.
struct Placement {
  float scale;
  int left, top;
};

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  std::string kind;
  Image image;
  int largest = 0;
  file >> kind >> image.width >> image.height >> largest;
  if (kind != "P6" || largest != 255 || image.width < 1 || image.height < 1) {
    throw std::runtime_error(path + " is no binary PPM (P6) of eight bits");
  }
  file.get();
  image.pixels.resize(std::size_t{3} * image.width * image.height);
  file.read(reinterpret_cast<char*>(image.pixels.data()),
            static_cast<std::streamsize>(image.pixels.size()));
  if (!file) throw std::runtime_error(path + " ends too early");
  return image;
}

// Between pixels, as OpenCV does it; beyond the edge the edge is repeated.
float sample(const Image& image, float y, float x, int channel) {
  y = std::clamp(y, 0.0f, static_cast<float>(image.height - 1));
  x = std::clamp(x, 0.0f, static_cast<float>(image.width - 1));
  const int y0 = static_cast<int>(y), x0 = static_cast<int>(x);
  const int y1 = std::min(y0 + 1, image.height - 1), x1 = std::min(x0 + 1, image.width - 1);
  const auto at = [&](int row, int column) {
    return static_cast<float>(
        image.pixels[3 * (static_cast<std::size_t>(row) * image.width + column) + channel]);
  };
  const float fy = y - static_cast<float>(y0), fx = x - static_cast<float>(x0);
  return (at(y0, x0) * (1 - fx) + at(y0, x1) * fx) * (1 - fy) +
         (at(y1, x0) * (1 - fx) + at(y1, x1) * fx) * fy;
}

// Scale the image into the middle of `height` x `width`, and write its planes one after the other.
Placement letterbox(const Image& image, int height, int width, std::vector<float>& planes) {
  const float scale = std::min(static_cast<float>(width) / image.width,
                               static_cast<float>(height) / image.height);
  const int inner_width = static_cast<int>(image.width * scale + 0.5f);
  const int inner_height = static_cast<int>(image.height * scale + 0.5f);
  const Placement place{scale, (width - inner_width) / 2, (height - inner_height) / 2};
  planes.assign(std::size_t{3} * height * width, kGrey);
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < inner_height; ++y) {
      for (int x = 0; x < inner_width; ++x) {
        const float value = sample(image, (y + 0.5f) * image.height / inner_height - 0.5f,
                                   (x + 0.5f) * image.width / inner_width - 0.5f, channel);
        planes[(static_cast<std::size_t>(channel) * height + place.top + y) * width + place.left +
               x] = value / 255.0f;
      }
    }
  }
  return place;
}

float overlap(const Box& a, const Box& b) {
  const float width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const float both = width * height;
  return both / ((a.right - a.left) * (a.bottom - a.top) +
                 (b.right - b.left) * (b.bottom - b.top) - both);
}

// Read (1, 4 + classes, places): centre, width, height, and a score for every class.
std::vector<Box> read_boxes(const float* output, const std::vector<std::int64_t>& shape,
                            float least_score, const Placement& place) {
  const auto classes = shape[1] - 4, places = shape[2];
  std::vector<Box> boxes;
  for (std::int64_t i = 0; i < places; ++i) {
    const auto at = [&](std::int64_t row) { return output[row * places + i]; };
    std::int64_t best = 0;
    for (std::int64_t label = 1; label < classes; ++label) {
      if (at(4 + label) > at(4 + best)) best = label;
    }
    if (at(4 + best) < least_score) continue;
    const float x = at(0) - place.left, y = at(1) - place.top;
    boxes.push_back({static_cast<int>(best), at(4 + best), (x - at(2) / 2) / place.scale,
                     (y - at(3) / 2) / place.scale, (x + at(2) / 2) / place.scale,
                     (y + at(3) / 2) / place.scale});
  }
  return boxes;
}

// Keep the best of boxes of one class that overlap.
std::vector<Box> without_overlaps(std::vector<Box> boxes) {
  std::stable_sort(boxes.begin(), boxes.end(),
                   [](const Box& a, const Box& b) { return a.score > b.score; });
  std::vector<Box> kept;
  for (const Box& box : boxes) {
    const bool is_new = std::none_of(kept.begin(), kept.end(), [&](const Box& other) {
      return other.label == box.label && overlap(other, box) > kMaxOverlap;
    });
    if (is_new) kept.push_back(box);
  }
  return kept;
}

void run(const std::string& model, const std::string& file, float least_score) {
  const Image image = read_ppm(file);
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "detect");
  Ort::SessionOptions options;
  options.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
#ifdef _WIN32
  const std::wstring model_path(model.begin(), model.end());
#else
  const std::string& model_path = model;
#endif
  Ort::Session session(environment, model_path.c_str(), options);
  auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
  // open sizes are negative
  shape[0] = 1;
  for (const int side : {2, 3}) {
    if (shape[side] < 1) shape[side] = 640;
  }
  std::vector<float> planes;
  const Placement place =
      letterbox(image, static_cast<int>(shape[2]), static_cast<int>(shape[3]), planes);

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Value input = Ort::Value::CreateTensor<float>(memory, planes.data(), planes.size(),
                                                     shape.data(), shape.size());
  const std::array<const char*, 1> inputs{"images"}, outputs{"output0"};
  auto found = session.Run(Ort::RunOptions{nullptr}, inputs.data(), &input, 1, outputs.data(), 1);
  const auto found_shape = found[0].GetTensorTypeAndShapeInfo().GetShape();
  if (found_shape.size() != 3 || found_shape[1] < 5) {
    throw std::runtime_error(model + " returns no boxes beside scores of classes; export a YOLO "
                             "detector without nms");
  }
  const auto boxes = without_overlaps(
      read_boxes(found[0].GetTensorData<float>(), found_shape, least_score, place));
  for (const Box& box : boxes) {
    std::printf("%d %.4f %.1f %.1f %.1f %.1f\n", box.label, box.score, box.left, box.top,
                box.right, box.bottom);
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "usage: detect MODEL.onnx IMAGE.ppm [least score]\n");
    return 2;
  }
  try {
    run(words[1], words[2], count == 4 ? std::strtof(words[3], nullptr) : 0.25f);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "detect: %s\n", error.what());
    return 1;
  }
}
