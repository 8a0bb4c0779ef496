//! The grammar of session keys and their canonical form (`protocol-facts` §8.7).
