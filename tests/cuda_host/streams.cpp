// What is recorded, and what is done later.
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>

#include "emulator.h"

namespace lamella::cuda_host {

struct Stream {
  std::deque<std::function<void()>> waiting;
  size_t done = 0;  // before those
  bool running = false;
};

namespace {

thread_local bool recording = false;
thread_local Work recorded;

// Never freed: what ends with a thread may still wait for it.
const std::shared_ptr<Stream>& usual() {
  thread_local auto* const stream = new std::shared_ptr<Stream>(std::make_shared<Stream>());
  return *stream;
}

std::mutex streams_mutex;
std::map<const void*, std::shared_ptr<Stream>>& streams() {
  static std::map<const void*, std::shared_ptr<Stream>> all;
  return all;
}

std::shared_ptr<Stream> of(const void* stream) {
  if (stream != nullptr) {
    const std::lock_guard<std::mutex> lock(streams_mutex);
    const auto found = streams().find(stream);
    if (found != streams().end()) return found->second;
  }
  return usual();
}

void run_until(Stream& s, size_t position) {
  if (s.done >= position) return;
  if (s.running) fail("a stream waits for itself");
  s.running = true;
  while (s.done < position && !s.waiting.empty()) {
    const std::function<void()> work = std::move(s.waiting.front());
    s.waiting.pop_front();
    work();
    ++s.done;
  }
  s.running = false;
}

// Own streams mostly are ahead of the usual one then, which nobody has to wait for to see what they do too soon.
bool early(bool own) {
  static const bool random = [] {
    const char* order = std::getenv("LAMELLA_CUDA_HOST_ORDER");
    return order != nullptr && std::string(order) == "random";
  }();
  thread_local std::mt19937 numbers(2);
  return random && numbers() % (own ? 2 : 16) == 0;
}

void add(Stream& s, std::function<void()> work) {
  s.waiting.push_back(std::move(work));
  if (!s.running && early(&s != usual().get())) run_until(s, s.done + s.waiting.size());
}

}  // namespace

void begin_recording() {
  if (recording) fail("recording inside a recording");
  recording = true;
}

Work end_recording() {
  recording = false;
  return std::exchange(recorded, {});
}

void perform(std::function<void()> work, const void* stream) {
  if (recording) {
    recorded.push_back(std::move(work));
    return;
  }
  const auto s = of(stream);
  if (s == usual() && s->waiting.empty()) {
    work();
  } else {
    add(*s, std::move(work));
  }
}

void perform_later(std::shared_ptr<const Work> work) {
  add(*usual(), [work = std::move(work)] {
    for (const auto& w : *work) w();
  });
}

void* make_stream() {
  auto s = std::make_shared<Stream>();
  const std::lock_guard<std::mutex> lock(streams_mutex);
  return (streams()[s.get()] = s).get();
}

void release_stream(const void* stream) {
  finish(stream);
  const std::lock_guard<std::mutex> lock(streams_mutex);
  streams().erase(stream);
}

Mark mark(const void* stream) {
  auto s = of(stream);
  const size_t position = s->done + (s->running ? 1 : 0) + s->waiting.size();
  return {std::move(s), position};
}

void wait_for(const Mark& mark) {
  if (mark.stream != nullptr) run_until(*mark.stream, mark.position);
}

void let_wait(const void* stream, const Mark& mark) {
  const auto s = of(stream);
  if (mark.stream == nullptr || mark.stream == s || mark.stream->done >= mark.position) return;
  add(*s, [mark] { wait_for(mark); });
}

void finish(const void* stream) {
  const auto s = of(stream);
  run_until(*s, s->done + s->waiting.size());
}

}  // namespace lamella::cuda_host
