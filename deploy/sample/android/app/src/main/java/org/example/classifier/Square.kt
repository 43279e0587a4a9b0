package org.example.classifier

const val SIZE = <<SIZE>>
const val RESIZED = <<RESIZED>>

<<SQUARE_KT>>
