// SPDX-License-Identifier: BSD-2-Clause
// Accesses that a device has no business to make, by command: it does what a broken or a malicious one would.
// What it reached is judged by words in memory, never by what it says: an emulated part reports what the
// IOMMU refused as done.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/copy.hpp"
#include "../core/result.hpp"
#include "../core/word.hpp"
#include "copy_engine.hpp"

namespace dmatoll::dma {

// Nothing else of the engine's is in flight. restart() -> Status: after an access that did not end, since a
// part may hang on what the IOMMU refuses; its errors are those of an access.
template <CopyEngine E>
class StrayAccess {
  public:
    explicit StrayAccess(E& engine) : engine_{engine} {}

    // As no stamp of a loop's is, nor an address; each is there once.
    std::uint64_t next_word() { return 0xd3a7'0115'0000'0000 + ++words_; }

    enum class Content : std::uint8_t {
        data,
        zeros,    // a refused read, or memory that holds them
        stale,    // what the device had read before
        nothing,  // none arrived
    };
    struct Read {
        Content content;
        std::uint64_t first;  // word of what arrived
        bool ended;
    };

    // The device reads E::least_copy_bytes there. Ahead of it it gets a word that nobody else has, and another one
    // is laid where the bytes arrive: so what came from there can be told from what did not.
    template <class Restart>
    Result<Read> read(Iova iova, Restart&& restart) {
        const std::uint64_t stale = next_word();
        const std::uint64_t untouched = next_word();
        store_word(engine_.origin(), stale);
        const Result<bool> primed = copy(engine_.origin_iova(), engine_.landing_iova(), restart);
        if (!primed.ok()) return primed.error();
        clear_bytes(engine_.landing(), page_bytes);
        store_word(engine_.landing(), untouched);
        const Result<bool> ended = copy(iova, engine_.landing_iova(), restart);
        if (!ended.ok()) return ended.error();
        const std::uint64_t first = load_word(engine_.landing());
        bool zeros = true;
        for (std::uint32_t i = 0; i < E::least_copy_bytes; ++i) zeros &= engine_.landing()[i] == std::byte{0};
        return Read{zeros                ? Content::zeros
                    : first == stale     ? Content::stale
                    : first == untouched ? Content::nothing
                                         : Content::data,
                    first, ended.value()};
    }

    struct Write {
        std::uint64_t word;  // who asks looks where it is
        bool ended;
    };
    // The device writes E::least_copy_bytes there: a word, and zeros.
    template <class Restart>
    Result<Write> write(Iova iova, Restart&& restart) {
        return write(iova, next_word(), restart);
    }
    template <class Restart>
    Result<Write> write(Iova iova, std::uint64_t word, Restart&& restart) {
        clear_bytes(engine_.origin(), page_bytes);
        store_word(engine_.origin(), word);
        const Result<bool> ended = copy(engine_.origin_iova(), iova, restart);
        if (!ended.ok()) return ended.error();
        return Write{word, ended.value()};
    }

  private:
    // Whether it ended.
    template <class Restart>
    Result<bool> copy(Iova source, Iova destination, Restart&& restart) {
        const Status ended = engine_.copy_and_wait(source, destination, E::least_copy_bytes);
        if (ended.ok()) return true;
        if (ended.error() != Error::timed_out) return ended.error();
        // What the restart puts into the engine's own pages must not pass for what the device did.
        const std::uint64_t landed = load_word(engine_.landing());
        const Status restarted = restart();
        store_word(engine_.landing(), landed);
        if (!restarted.ok()) return restarted.error();
        return false;
    }

    E& engine_;
    std::uint64_t words_ = 0;
};

}  // namespace dmatoll::dma
