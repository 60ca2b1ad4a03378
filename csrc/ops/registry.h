// One registration function per op family, called by OpRegistry::instance().
#pragma once

namespace lamella {

class OpRegistry;
void register_dense(OpRegistry&);
void register_matmul(OpRegistry&);
void register_conv(OpRegistry&);
void register_pool(OpRegistry&);
void register_elementwise(OpRegistry&);
void register_reduce(OpRegistry&);
void register_softmax(OpRegistry&);
void register_loss(OpRegistry&);
void register_norm(OpRegistry&);
void register_rnn(OpRegistry&);
void register_shape(OpRegistry&);
void register_repeat(OpRegistry&);
void register_resize(OpRegistry&);
void register_random(OpRegistry&);
void register_embedding(OpRegistry&);
void register_augment(OpRegistry&);
void register_attention(OpRegistry&);

}  // namespace lamella
