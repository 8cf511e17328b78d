"""Operations on pictures and embeddings that the stages share; they know no stage and no settings of one."""
