"""The public TFLite schema as tables: operators, element types, enumerations and the fields of options tables.
How bytes are read with them is in `flat.py`, what must hold between them in `reader.py`.

Source: tensorflow/lite/schema/schema.fbs. Position is meaning: the n-th name of an enumeration has value n, the
n-th field of a table lies in slot n of its vtable; the schema only ever grows at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

FILE_IDENTIFIER = b"TFL3"
VERSION = 3
"""Of the schema, in every file since 2017."""


def _words(text: str) -> list[str]:
    return text.split()


BUILTIN_OPERATORS = _words("""
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
    LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
    CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
    LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD
    RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N
    GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
    PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
    HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
    ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM
    STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
    STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE
    STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW
    STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR
    REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
""")

CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")
PLACEHOLDER = BUILTIN_OPERATORS.index("PLACEHOLDER_FOR_GREATER_OP_CODES")
"""In the field of 8 bits that codes were kept in at first; greater ones are in a field of their own."""

ELEMENT_TYPES = _words("""
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant
    uint32 uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
""")
"""By NumPy's names, or 'string', 'resource', 'variant', 'int4', 'int2', 'uint4', 'bfloat16', 'float8_...'."""

ENUMERATIONS = {
    "Type": [name.upper() for name in ELEMENT_TYPES],
    "Padding": _words("SAME VALID"),
    "Activation": _words("NONE RELU RELU_N1_TO_1 RELU6 TANH SIGN_BIT"),
    "Projection": _words("UNKNOWN SPARSE DENSE"),
    "WeightsFormat": _words("DEFAULT SHUFFLED4x16INT8"),
    "LSTMKernel": _words("FULL BASIC"),
    "Combiner": _words("SUM MEAN SQRTN"),
    "Mirror": _words("REFLECT SYMMETRIC"),
    "Window": _words("UNSUPPORTED ADD MUL MINIMUM MAXIMUM ALL ANY"),
}
"""The enumerations that options use. An option holds the name: 'SAME', 'RELU6', 'INT64'."""

OPTION_TABLES = _words("""
    NONE Conv2D DepthwiseConv2D ConcatEmbeddings LSHProjection Pool2D SVDF RNN FullyConnected Softmax Concatenation
    Add L2Norm LocalResponseNormalization LSTM ResizeBilinear Call Reshape SkipGram SpaceToDepth EmbeddingLookupSparse
    Mul Pad Gather BatchToSpaceND SpaceToBatchND Transpose Reducer Sub Div Squeeze SequenceRNN StridedSlice Exp TopKV2
    Split LogSoftmax Cast Dequantize MaximumMinimum ArgMax Less Neg PadV2 Greater GreaterEqual LessEqual Select Slice
    TransposeConv SparseToDense Tile ExpandDims Equal NotEqual Shape Pow ArgMin FakeQuant Pack LogicalOr OneHot
    LogicalAnd LogicalNot Unpack FloorDiv Square ZerosLike Fill BidirectionalSequenceLSTM BidirectionalSequenceRNN
    UnidirectionalSequenceLSTM FloorMod Range ResizeNearestNeighbor LeakyRelu SquaredDifference MirrorPad Abs SplitV
    Unique ReverseV2 AddN GatherNd Cos Where Rank ReverseSequence MatrixDiag Quantize MatrixSetDiag HardSwish If While
    DepthToSpace NonMaxSuppressionV4 NonMaxSuppressionV5 ScatterNd SelectV2 Densify SegmentSum BatchMatMul Cumsum
    CallOnce BroadcastTo Rfft2d Conv3D Hashtable HashtableFind HashtableImport HashtableSize VarHandle ReadVariable
    AssignVariable Random Bucketize Gelu DynamicUpdateSlice UnsortedSegmentProd UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentSum ATan2 Sign Bitcast BitwiseXor RightShift
""")
"""The union BuiltinOptions, names without their ending `Options`."""

OPTION_TABLES_2 = _words("""
    NONE StablehloConcatenate StablehloBroadcastInDim StablehloSlice StablehloConvolution StablehloCustomCall
    StablehloReduce StablehloScatter StablehloCompare StablehloDynamicSlice StablehloPad StablehloIota
    StablehloDotGeneral StablehloReduceWindow StablehloSort StablehloWhile StablehloGather StablehloTranspose Dilate
    StablehloRngBitGenerator ReduceWindow StableHLOComposite StablehloShiftLeft StablehloCase
""")
"""The union BuiltinOptions2."""

_FIELDS = """
StablehloGather offset_dims:[long] collapsed_slice_dims:[long] start_index_map:[long] index_vector_dim:long
    slice_sizes:[long] indices_are_sorted:bool
StablehloTranspose permutation:[long]
StablehloDotGeneral lhs_batching_dimensions:[long] rhs_batching_dimensions:[long] lhs_contracting_dimensions:[long]
    rhs_contracting_dimensions:[long] precision_config:[uint]
StablehloReduceWindow window_dimensions:[long] window_strides:[long] base_dilations:[long] window_dilations:[long]
    padding:[long] body_subgraph_index:int
StablehloWhile cond_subgraph_index:int body_subgraph_index:int
StablehloSort dimension:long is_stable:bool comparator_subgraph_index:int
StablehloConcatenate dimension:long
StablehloBroadcastInDim broadcast_dimensions:[long]
StablehloCompare comparison_direction:uint compare_type:uint
StablehloDynamicSlice slice_sizes:[long]
StablehloPad edge_padding_low:[long] edge_padding_high:[long] interior_padding:[long]
StablehloIota iota_dimension:long
StablehloCustomCall call_target_name:string has_side_effect:bool backend_config:string api_version:int
    called_computations:[int] custom_attributes:[ubyte]
StablehloReduce dimensions:[long] body_subgraph_index:int
StablehloSlice start_indices:[long] limit_indices:[long] strides:[long]
StablehloConvolution window_strides:[long] padding:[long] lhs_dilation:[long] rhs_dilation:[long]
    window_reversal:[bool] input_batch_dimension:long input_feature_dimension:long input_spatial_dimensions:[long]
    kernel_input_feature_dimension:long kernel_output_feature_dimension:long kernel_spatial_dimensions:[long]
    output_batch_dimension:long output_feature_dimension:long output_spatial_dimensions:[long]
    feature_group_count:long batch_group_count:long precision_config:[uint]
StablehloScatter indices_are_sorted:bool update_window_dims:[long] inserted_window_dims:[long]
    scatter_dims_to_operand_dims:[long] index_vector_dim:long unique_indices:bool
    update_computation_subgraph_index:int
StablehloCase branch_subgraph_indices:[int]
StablehloRngBitGenerator algorithm:byte
Conv2D padding:Padding stride_w:int stride_h:int fused_activation_function:Activation dilation_w_factor:int=1
    dilation_h_factor:int=1 quantized_bias_type:Type
Conv3D padding:Padding stride_d:int stride_w:int stride_h:int fused_activation_function:Activation
    dilation_d_factor:int=1 dilation_w_factor:int=1 dilation_h_factor:int=1
Pool2D padding:Padding stride_w:int stride_h:int filter_width:int filter_height:int
    fused_activation_function:Activation
DepthwiseConv2D padding:Padding stride_w:int stride_h:int depth_multiplier:int fused_activation_function:Activation
    dilation_w_factor:int=1 dilation_h_factor:int=1
ConcatEmbeddings num_channels:int num_columns_per_channel:[int] embedding_dim_per_channel:[int]
LSHProjection type:Projection
SVDF rank:int fused_activation_function:Activation asymmetric_quantize_inputs:bool
RNN fused_activation_function:Activation asymmetric_quantize_inputs:bool
SequenceRNN time_major:bool fused_activation_function:Activation asymmetric_quantize_inputs:bool
BidirectionalSequenceRNN time_major:bool fused_activation_function:Activation merge_outputs:bool
    asymmetric_quantize_inputs:bool
FullyConnected fused_activation_function:Activation weights_format:WeightsFormat keep_num_dims:bool
    asymmetric_quantize_inputs:bool quantized_bias_type:Type quant_spec:[ubyte]
Softmax beta:float
Concatenation axis:int fused_activation_function:Activation
Add fused_activation_function:Activation pot_scale_int16:bool=1
Mul fused_activation_function:Activation
L2Norm fused_activation_function:Activation
LocalResponseNormalization radius:int bias:float alpha:float beta:float
LSTM fused_activation_function:Activation cell_clip:float proj_clip:float kernel_type:LSTMKernel
    asymmetric_quantize_inputs:bool
UnidirectionalSequenceLSTM fused_activation_function:Activation cell_clip:float proj_clip:float time_major:bool
    asymmetric_quantize_inputs:bool diagonal_recurrent_tensors:bool
BidirectionalSequenceLSTM fused_activation_function:Activation cell_clip:float proj_clip:float merge_outputs:bool
    time_major:bool=1 asymmetric_quantize_inputs:bool
ResizeBilinear new_height:int new_width:int align_corners:bool half_pixel_centers:bool
ResizeNearestNeighbor align_corners:bool half_pixel_centers:bool
Call subgraph:uint
Reshape new_shape:[int]
SkipGram ngram_size:int max_skip_size:int include_all_ngrams:bool
SpaceToDepth block_size:int
DepthToSpace block_size:int
Sub fused_activation_function:Activation pot_scale_int16:bool=1
Div fused_activation_function:Activation
EmbeddingLookupSparse combiner:Combiner
Gather axis:int batch_dims:int
Reducer keep_dims:bool
Squeeze squeeze_dims:[int]
Split num_splits:int
SplitV num_splits:int
StridedSlice begin_mask:int end_mask:int ellipsis_mask:int new_axis_mask:int shrink_axis_mask:int offset:bool
Cast in_data_type:Type out_data_type:Type
ArgMax output_type:Type
ArgMin output_type:Type
TransposeConv padding:Padding stride_w:int stride_h:int fused_activation_function:Activation quantized_bias_type:Type
SparseToDense validate_indices:bool
Shape out_type:Type
FakeQuant min:float max:float num_bits:int narrow_range:bool
Pack values_count:int axis:int
OneHot axis:int
Unpack num:int axis:int
LeakyRelu alpha:float
MirrorPad mode:Mirror
Unique idx_out_type:Type=2
ReverseSequence seq_dim:int batch_dim:int
If then_subgraph_index:int else_subgraph_index:int
CallOnce init_subgraph_index:int
While cond_subgraph_index:int body_subgraph_index:int
BatchMatMul adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
Cumsum exclusive:bool reverse:bool
Hashtable table_id:int key_dtype:Type value_dtype:Type
VarHandle container:string shared_name:string
Random seed:long seed2:long
Bucketize boundaries:[float]
Gelu approximate:bool
ReduceWindow reduce_function:Window
StableHLOComposite name:string decomposition_subgraph_index:int composite_attributes:[ubyte]
    composite_attributes_format:byte version:int
"""
"""One table a paragraph: its name, then `field:type=default` by slot. [type] is a vector, the type an element of
which may be an enumeration. Tables that are missing here have no fields."""


@dataclass(frozen=True)
class Field:
    """One field of an options table. type: a scalar of flatbuffers or a key of ENUMERATIONS."""

    name: str
    slot: int
    type: str
    vector: bool
    default: int


def _parse(text: str) -> dict[str, tuple[Field, ...]]:
    tables: dict[str, tuple[Field, ...]] = {}
    for paragraph in text.replace("\n    ", " ").strip().splitlines():
        table, *fields = paragraph.split()
        parsed = []
        for slot, spelled in enumerate(fields):
            name, kind = spelled.split(":")
            kind, _, default = kind.partition("=")
            parsed.append(Field(name, slot, kind.strip("[]"), kind.startswith("["), int(default or 0)))
        tables[table] = tuple(parsed)
    return tables


OPTIONS: dict[str, tuple[Field, ...]] = _parse(_FIELDS)
"""Options table -> its fields."""
